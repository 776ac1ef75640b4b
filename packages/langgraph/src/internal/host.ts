/**
 * Where a saver's effects run: it opens the checkpointer when it is first asked for, once for all who ask meanwhile, and
 * makes promises of effects.
 *
 * @internal
 */
import * as Checkpointer from "@checkpool/checkpoint/Checkpointer"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { SaverEnded } from "../CheckpoolSaverError.ts"

/**
 * All of it rejects with the typed error itself, and with the signal's reason as soon as that is aborted.
 *
 * @internal
 */
export interface Host {
  /** Opens the checkpointer if it isn't open. If that fails, the next one who asks tries again. */
  readonly use: <A, E>(
    f: (checkpointer: Checkpointer.Service) => Effect.Effect<A, E>,
    signal: AbortSignal | undefined
  ) => Promise<A>
  readonly iterate: <A, E>(
    f: (checkpointer: Checkpointer.Service) => Stream.Stream<A, E>,
    signal: AbortSignal | undefined
  ) => AsyncGenerator<A, void>
  /** Closes what has been opened; from then on there is no checkpointer any more. Does it once. */
  readonly close: () => Promise<void>
}

interface Opened {
  readonly checkpointer: Checkpointer.Service
  readonly runtime: Runtime.Runtime<never>
}

type State =
  | { readonly _tag: "Idle" }
  | {
      readonly _tag: "Opening"
      readonly fiber: Fiber.RuntimeFiber<Opened, unknown>
      readonly scope: Scope.CloseableScope
    }
  | { readonly _tag: "Open"; readonly opened: Opened; readonly scope: Scope.CloseableScope }
  | { readonly _tag: "Ended"; readonly closed: Promise<void> }

/** @internal */
export const make = (layer: Layer.Layer<Checkpointer.Checkpointer, unknown>): Host => {
  let state: State = { _tag: "Idle" }

  const open = (scope: Scope.CloseableScope): Effect.Effect<Opened, unknown> =>
    Layer.toRuntime(layer).pipe(
      Scope.extend(scope),
      Effect.map((runtime) => {
        const opened = { checkpointer: Context.get(runtime.context, Checkpointer.Checkpointer), runtime }
        if (state._tag === "Opening") state = { _tag: "Open", opened, scope }
        return opened
      }),
      // A layer that fails closes by itself what it had opened.
      Effect.onError(() =>
        Effect.sync(() => {
          if (state._tag === "Opening") state = { _tag: "Idle" }
        })
      )
    )

  const opened = async (signal: AbortSignal | undefined): Promise<Opened> => {
    if (state._tag === "Open") return state.opened
    if (state._tag === "Ended") throw new SaverEnded()
    if (state._tag === "Idle") {
      // In a fiber of its own: who asks first may be interrupted while others wait for the same. It starts with the next
      // task, when the state is set.
      const scope = Effect.runSync(Scope.make())
      state = { _tag: "Opening", fiber: Effect.runFork(Effect.zipRight(Effect.yieldNow(), open(scope))), scope }
    }
    return await run(Runtime.defaultRuntime, Effect.flatten(Fiber.await(state.fiber)), signal)
  }

  return {
    use: async (f, signal) => {
      const { checkpointer, runtime } = state._tag === "Open" ? state.opened : await opened(signal)
      return await run(runtime, f(checkpointer), signal)
    },
    iterate: async function* (f, signal) {
      const { checkpointer, runtime } = await opened(signal)
      const scope = Effect.runSync(Scope.make())
      try {
        const pull = await run(runtime, Scope.extend(Stream.toPull(f(checkpointer)), scope), signal)
        for (;;) {
          const page = await run(runtime, endsWithNone(pull), signal)
          if (Option.isNone(page)) return
          yield* page.value
        }
      } finally {
        await Effect.runPromise(Scope.close(scope, Exit.void))
      }
    },
    close: () => {
      if (state._tag !== "Ended") state = { _tag: "Ended", closed: Effect.runPromise(close(state)) }
      return state.closed
    }
  }
}

const endsWithNone = <A, E>(pull: Effect.Effect<A, Option.Option<E>>): Effect.Effect<Option.Option<A>, E> =>
  Effect.matchEffect(pull, {
    onFailure: Option.match({ onNone: () => Effect.succeedNone, onSome: Effect.fail }),
    onSuccess: Effect.succeedSome
  })

/** What can't be given up while it opens is waited for, and closed. */
const close = (state: State): Effect.Effect<void> => {
  if (state._tag === "Idle" || state._tag === "Ended") return Effect.void
  const stopped = state._tag === "Opening" ? Fiber.interrupt(state.fiber) : Effect.void
  return Effect.zipRight(stopped, Scope.close(state.scope, Exit.void))
}

const run = async <A, E>(
  runtime: Runtime.Runtime<never>,
  effect: Effect.Effect<A, E>,
  signal: AbortSignal | undefined
): Promise<A> => {
  signal?.throwIfAborted()
  const exit = await settle(runtime, effect, signal)
  if (Exit.isSuccess(exit)) return exit.value
  signal?.throwIfAborted()
  throw withCallers(Cause.isInterruptedOnly(exit.cause) ? new SaverEnded() : Cause.squash(exit.cause))
}

const settle = <A, E>(
  runtime: Runtime.Runtime<never>,
  effect: Effect.Effect<A, E>,
  signal: AbortSignal | undefined
): Promise<Exit.Exit<A, E>> =>
  new Promise((resolve) => {
    const fiber = Runtime.runFork(runtime)(effect)
    // The caller need not wait until the server has taken note.
    const abort = () => {
      fiber.unsafeInterruptAsFork(FiberId.none)
      resolve(Exit.interrupt(FiberId.none))
    }
    if (signal !== undefined) listen(signal, abort)
    fiber.addObserver((exit) => {
      if (signal !== undefined) unlisten(signal, abort)
      resolve(exit)
    })
  })

/**
 * What is to be done when a signal is aborted. A run makes all of its calls with one signal, many of them at the same time,
 * and Node warns of a leak when there are more than ten listeners; so there is one.
 */
const aborts = new WeakMap<AbortSignal, { readonly all: Set<() => void>; readonly listener: () => void }>()

const listen = (signal: AbortSignal, abort: () => void): void => {
  let found = aborts.get(signal)
  if (found === undefined) {
    const all = new Set<() => void>()
    found = { all, listener: () => all.forEach((each) => void each()) }
    aborts.set(signal, found)
    signal.addEventListener("abort", found.listener)
  }
  found.all.add(abort)
}

const unlisten = (signal: AbortSignal, abort: () => void): void => {
  const found = aborts.get(signal)
  if (found === undefined || !found.all.delete(abort) || found.all.size > 0) return
  aborts.delete(signal)
  signal.removeEventListener("abort", found.listener)
}

const told = new WeakSet<object>()

/** An error that was made in a fiber doesn't know who called, but whoever awaits this does. */
const withCallers = (error: unknown): unknown => {
  if (!(error instanceof Error) || told.has(error)) return error
  told.add(error)
  const here = { stack: "" }
  Error.captureStackTrace(here, withCallers)
  error.stack = [error.stack ?? String(error), ...here.stack.split("\n").slice(1)].join("\n")
  return error
}
