/**
 * Stops on a broken invariant: a mistake of ours, never of a client. Bytes from outside are validated
 * and answered with an `EtcdError` instead. Each `%` of the message stands for one of the facts, so that
 * nothing is put together, on hot paths above all, while the invariant holds.
 */
export function assert(
  condition: boolean,
  message: string,
  fact1?: unknown,
  fact2?: unknown,
  fact3?: unknown,
  fact4?: unknown,
): asserts condition {
  // No rest parameter: it would be an array for every call.
  if (!condition) fail(message, [fact1, fact2, fact3, fact4]);
}

function fail(message: string, facts: unknown[]): never {
  throw new AssertionError(message.replaceAll("%", () => String(facts.shift())));
}

/** A broken invariant. Nothing catches it to go on: the process logs it and ends. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** For a `switch` whose cases are all handled: does not compile when one is missing. */
export function unreachable(value: never): never {
  throw new AssertionError(`Unreachable: ${String(value)}`);
}
