/**
 * The live page: one HTML document with its style and script in it, and the policy that lets the browser run these and
 * nothing else.
 */
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import * as Effect from "effect/Effect"

/** @internal */
export interface Page {
  readonly html: string
  readonly headers: Record<string, string>
}

/** @internal */
export const load: Effect.Effect<Page> = Effect.sync(() => {
  const read = (file: string) => readFileSync(new URL(`../../page/${file}`, import.meta.url), "utf8")
  const style = read("page.css")
  const script = read("page.js")
  // By function: `$` means something in a replacement.
  const html = read("page.html")
    .replace("/* style */", () => style)
    .replace("/* script */", () => script)
  const policy = [
    "default-src 'none'",
    `script-src '${hash(script)}'`,
    `style-src '${hash(style)}'`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'"
  ]
  return {
    html,
    headers: {
      "cache-control": "no-store",
      "content-security-policy": policy.join("; "),
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-resource-policy": "same-origin",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff"
    }
  }
})

const hash = (text: string): string => `sha256-${createHash("sha256").update(text).digest("base64")}`
