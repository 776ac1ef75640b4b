/**
 * Type checks snippets against the sources of the packages.
 */
import * as NodePath from "node:path"
import Ts from "typescript"
import { root, type Snippet } from "./snippets.ts"

const options = (): Ts.CompilerOptions => {
  const base = NodePath.join(root, "tsconfig.base.json")
  const { config } = Ts.readConfigFile(base, Ts.sys.readFile)
  return {
    ...Ts.convertCompilerOptionsFromJson(config.compilerOptions, root).options,
    customConditions: ["@checkpool/source"],
    noEmit: true,
    composite: false,
    incremental: false,
    rewriteRelativeImportExtensions: false,
    allowImportingTsExtensions: true,
    // A snippet may show how something is made, and leave it at that.
    noUnusedLocals: false
  }
}

/** For each snippet what the compiler has against it. */
export const compile = (snippets: ReadonlyArray<Snippet>): ReadonlyMap<Snippet, ReadonlyArray<string>> => {
  const files = new Map(snippets.map((snippet, i) => [`${snippet.host}.${i}.ts`, snippet]))
  const given = options()
  const host = Ts.createCompilerHost(given)
  const virtual: Ts.CompilerHost = {
    ...host,
    fileExists: (file) => files.has(file) || host.fileExists(file),
    readFile: (file) => files.get(file)?.code ?? host.readFile(file),
    getSourceFile: (file, language) => {
      const snippet = files.get(file)
      return snippet === undefined
        ? host.getSourceFile(file, language)
        : Ts.createSourceFile(file, snippet.code, language)
    }
  }
  const program = Ts.createProgram([...files.keys()], given, virtual)
  return new Map(
    [...files].map(([file, snippet]) => {
      const source = program.getSourceFile(file)
      const diagnostics = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]
      return [snippet, diagnostics.map(({ messageText }) => Ts.flattenDiagnosticMessageText(messageText, "\n"))]
    })
  )
}
