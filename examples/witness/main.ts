/**
 * The witness: shows on a real database what the pool and the checkpointer claim, before and after, and says of each
 * criterion whether it holds. `npm start` runs it; `npm start -- --help` lists its options.
 */
import { stripVTControlCharacters } from "node:util"
import { Command, Options } from "@effect/cli"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Cause, Data, Effect, Exit, Option } from "effect"
import * as Progress from "./progress.ts"
import { render } from "./report.ts"
import * as Saved from "./saved.ts"
import * as Settings from "./settings.ts"
import { colours, plain } from "./table.ts"
import { judge } from "./verdict.ts"
import * as Witness from "./witness.ts"

const integer = (name: string) =>
  Options.integer(name).pipe(
    Options.filterMap(
      (given) => (given >= 1 ? Option.some(given) : Option.none()),
      `--${name} has to be a whole number of at least 1.`
    )
  )

const options = {
  url: Options.redacted("url").pipe(
    Options.withPseudoName("postgres://user:password@host:5432/database"),
    Options.withDescription(
      "A database of yours. The witness works in a schema of its own and drops it at the end. Default: a server from " +
        "npm that is started for the run."
    ),
    Options.optional
  ),
  schema: Options.text("schema").pipe(
    Options.withDescription(
      "The name of that schema, which must not exist yet. Default: checkpool_witness_ and a number."
    ),
    Options.optional
  ),
  threads: integer("threads").pipe(
    Options.withDescription("Conversations at the same time where there are no more callers than connections."),
    Options.withDefault(Settings.defaults.threads)
  ),
  steps: integer("steps").pipe(
    Options.withDescription("Turns of a conversation, each saved as a checkpoint."),
    Options.withDefault(Settings.defaults.steps)
  ),
  seconds: Options.float("seconds").pipe(
    Options.filterMap(
      (given) => (given >= 0.1 && given <= 3600 ? Option.some(given) : Option.none()),
      "--seconds has to be a number from 0.1 to 3600."
    ),
    Options.withDescription(`How long each phase lasts. Default: ${Settings.defaults.seconds}.`),
    Options.optional
  ),
  watch: Options.boolean("watch").pipe(
    Options.withDescription("Serves a live page of the pools while it runs, and says where.")
  ),
  report: Options.file("report").pipe(
    Options.withDescription(
      `Where the report goes, a page with plots that needs nothing else. Default: ${Saved.usual}, if that can be written.`
    ),
    Options.optional
  ),
  quick: Options.boolean("quick").pipe(Options.withDescription("Short phases, for a first look.")),
  json: Options.boolean("json").pipe(
    Options.withDescription("Prints the findings as JSON; what else there is to say goes to stderr.")
  )
}

/** The report has said why. */
class NotProved extends Data.TaggedError("NotProved") {}

const command = Command.make(
  "npm start --",
  options,
  ({ json, quick, report, schema, seconds, steps, threads, url, watch }) =>
    Effect.gen(function* () {
      const stream = json ? process.stderr : process.stdout
      const live = stream.isTTY === true
      const progress = Progress.make({
        write: (text) => stream.write(text),
        live,
        columns: live ? stream.columns : 200
      })
      const size = quick ? Settings.quick : Settings.defaults
      const settings = { ...size, threads, steps, seconds: Option.getOrElse(seconds, () => size.seconds) }
      // Before the run: nobody wants to hear afterwards that its result can't be kept.
      if (Option.isSome(report)) yield* Saved.check(report.value)
      const findings = yield* Witness.run({ url, schema, settings, progress, watch }).pipe(
        Effect.onInterrupt(() => Effect.sync(() => process.stderr.write("Interrupted, everything is cleaned up.\n")))
      )
      const verdicts = judge(findings)
      const passed = verdicts.every(({ passed }) => passed)
      if (json) {
        process.stdout.write(`${JSON.stringify({ passed, verdicts, ...findings }, undefined, 2)}\n`)
      } else {
        const paint = isColoured(process.stdout) ? colours : plain
        process.stdout.write(`\n${render(findings, verdicts, paint)}\n`)
      }
      const note = (text: string) => Effect.sync(() => stream.write(`${text}\n`))
      yield* Option.match(report, {
        onNone: () =>
          Effect.catchAll(Saved.save(Saved.usual, findings, verdicts), ({ message }) => Effect.succeed(message)),
        onSome: (path) => Saved.save(path, findings, verdicts)
      }).pipe(Effect.flatMap(note))
      if (!passed) return yield* new NotProved()
    })
).pipe(
  Command.withDescription(
    "Writes checkpoints of many conversations to Postgres, with a new connection for each and then through the pool, " +
      "near and 10 ms away, and says whether the pool keeps its promises."
  )
)

const cli = Command.run(command, {
  name: "checkpool witness",
  version: "0.1.0",
  executable: "npm start --"
})

// npm passes Ctrl-C on to a program that the terminal has told already: the second one must not cut the cleaning short.
let interrupted = 0
process.on("SIGINT", () => {
  const now = performance.now()
  if (interrupted !== 0 && now - interrupted > 1000) process.exit(130)
  interrupted ||= now
})
// Whoever reads the output may stop reading; the run is cleaned up all the same.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {})

Effect.consoleWith((console) =>
  Effect.withConsole(cli(process.argv), {
    ...console,
    log: uncoloured(process.stdout),
    error: uncoloured(process.stderr)
  })
).pipe(
  Effect.catchTags({
    WitnessError: (error) => Effect.zipRight(say(error.message), Effect.fail(error)),
    EmbeddedPostgresError: (error) => Effect.zipRight(say(error.message), Effect.fail(error)),
    TcpRelayError: (error) => Effect.zipRight(say(error.message), Effect.fail(error))
  }),
  Effect.tapErrorCause((cause) => (Cause.isDie(cause) ? say(Cause.pretty(cause)) : Effect.void)),
  Effect.provide(NodeContext.layer),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? 0 : Cause.isInterruptedOnly(exit.cause) ? 130 : 1)
  })
)

/** The library's help is in colour whatever it is written to. */
function uncoloured(stream: NodeJS.WriteStream) {
  return (...args: ReadonlyArray<unknown>) =>
    Effect.sync(() => {
      const text = args.join(" ")
      stream.write(`${isColoured(stream) ? text : stripVTControlCharacters(text)}\n`)
    })
}

function isColoured(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && !process.env.NO_COLOR
}

function say(sentence: string): Effect.Effect<void> {
  return Effect.sync(() => void process.stderr.write(`${sentence}\n`))
}
