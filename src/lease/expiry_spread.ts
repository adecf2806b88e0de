import type { Lease } from "./lease.ts";

const WINDOW_MS = 1_000;

/**
 * Puts off expiries so that in no second more than `perSecondMax` leases end, and none ends earlier than it
 * would have: after an election the leases of the whole cluster begin anew at the same moment, and would
 * end together. `leases` are sorted by expiry, and stay so.
 *
 * Example: with two a second, expiries at 10.0, 10.1, 10.2, 10.3 and 15 s become 10.0, 10.1, 11.0, 11.1 and 15 s.
 */
export function spreadExpiries(leases: readonly Lease[], perSecondMax: number): void {
  for (let at = perSecondMax; at < leases.length; at += 1) {
    const earliestMs = leases[at - perSecondMax]!.expiryMs + WINDOW_MS;
    const lease = leases[at]!;
    if (lease.expiryMs < earliestMs) lease.expiryMs = earliestMs;
  }
}
