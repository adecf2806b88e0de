/** Waiting in tests: as long as the slowest machine may need, and never without end. */

/** What has not come by then, on however slow a machine, does not come. */
export const WAIT_MS_MAX = 60_000;
const POLL_MS = 10;

/**
 * Settles as `promise` does. Fails when that takes too long, and says what was waited for and what `state`
 * tells of it then.
 */
export async function within<T>(
  what: string,
  promise: PromiseLike<T>,
  state: () => string = () => "",
  timeoutMs = WAIT_MS_MAX,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(waitedInVain(what, state, timeoutMs))), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves once `condition` holds, looked at every few milliseconds; fails as `within` does. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  state: () => string = () => "",
  timeoutMs = WAIT_MS_MAX,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!await condition()) {
    if (performance.now() > deadlineMs) throw new Error(waitedInVain(what, state, timeoutMs));
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function waitedInVain(what: string, state: () => string, timeoutMs: number): string {
  return `waited ${timeoutMs} ms in vain for ${what}\n${state()}`.trimEnd();
}
