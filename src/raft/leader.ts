import { assert } from "../base/assert.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { RaftIndex } from "../base/units.ts";
import { changeConf, ConfChangeError, isJoint, leavesJoint } from "./conf_change.ts";
import { confChangeOf } from "./conf_change_wire.ts";
import { becomeFollower, type Core, type Refusal, send, startRole } from "./core.ts";
import { entryBytes } from "./entry_run.ts";
import { decodePosition, encodePosition } from "./read_only.ts";
import type { Progress } from "./tracker/progress.ts";
import { type AppendResponse, EntryType, type HeartbeatResponse, type Message, NO_MEMBER } from "./types.ts";

/** Opens the term with an empty entry: nothing older can be committed before one of this term (Raft, 5.4.2). */
export function becomeLeader(core: Core): void {
  assert(core.role === "candidate", "% became leader", core.role);
  startRole(core, "leader", core.term);
  core.leader = core.id;
  const self = core.self;
  assert(self !== undefined, "a member outside of the configuration became leader");
  self.acknowledged(core.log.stableIndex);
  self.becomeReplicate();
  self.recentlyActive = true;
  append(core, EntryType.normal, EMPTY_BYTES);
  // There may be a configuration change among the entries that are not applied; finding out could take a scan
  // of the whole tail. Waiting for the entry just appended covers them, and it keeps the rule without which
  // changes of single servers are unsafe: none before the leader has committed an entry of its own term.
  core.pendingConfIndex = core.log.lastIndex;
}

export function tickLeader(core: Core): void {
  core.ticksSinceHeartbeat += 1;
  core.ticksSinceContact += 1;
  if (core.ticksSinceContact >= core.config.electionTicks) {
    core.ticksSinceContact = 0;
    // A transfer that took an election timeout has failed: proposals are taken again.
    core.transferee = NO_MEMBER;
    if (core.config.checkQuorum && !checkQuorum(core)) return;
  }
  if (core.ticksSinceHeartbeat < core.config.heartbeatTicks) return;
  broadcastHeartbeat(core);
  // Not at once: whoever takes over must have applied the change by then, or it would not campaign.
  if (core.transferee === NO_MEMBER && !core.tracker.isVoter(core.id)) handOver(core);
}

/** Steps down without a quorum heard of since the last check, and starts the next period. */
function checkQuorum(core: Core): boolean {
  if (!core.tracker.quorumActive()) {
    becomeFollower(core, core.term, NO_MEMBER);
    return false;
  }
  for (const progress of core.tracker.progress.values()) {
    if (progress !== core.self) progress.recentlyActive = false;
  }
  return true;
}

/** Appends a proposal and gives its index. It is committed later, or never when another leader takes over. */
export function proposeAsLeader(core: Core, type: EntryType, data: Uint8Array): RaftIndex | Refusal {
  if (core.self === undefined) return "not a member";
  if (core.transferee !== NO_MEMBER) return "leader transfer in progress";
  const tooMuch = core.uncommittedBytes + data.length > core.config.maxUncommittedBytes;
  // One proposal is always admitted, and an empty one too: it ends joint configurations.
  if (tooMuch && core.uncommittedBytes > 0 && data.length > 0) return "too many uncommitted bytes";
  if (type !== EntryType.normal) {
    const refusal = confChangeRefusal(core, type, data);
    if (refusal !== undefined) return refusal;
    core.pendingConfIndex = core.log.lastIndex + 1;
  }
  return append(core, type, data);
}

function append(core: Core, type: EntryType, data: Uint8Array): RaftIndex {
  const index = core.log.lastIndex + 1;
  core.log.append({ term: core.term, index, type, data });
  core.uncommittedBytes += data.length;
  core.replicationDue = true;
  return index;
}

/** One change at a time, and only one that can be applied: at its turn the configuration is still this one. */
function confChangeRefusal(core: Core, type: EntryType, data: Uint8Array): Refusal | undefined {
  if (core.pendingConfIndex > core.log.applied) return "conf change in progress";
  const conf = core.tracker.conf;
  try {
    const change = confChangeOf({ type, data });
    if (isJoint(conf) !== leavesJoint(change)) return "conf change does not fit";
    changeConf(conf, change);
  } catch (error) {
    if (error instanceof ConfChangeError) return "conf change does not fit";
    throw error;
  }
  return undefined;
}

/** Entries are applied: a joint configuration that leaves itself is left when the change that made it is among them. */
export function leaveJointIfDue(core: Core): void {
  const conf = core.tracker.conf;
  if (!conf.autoLeave || core.log.applied < core.pendingConfIndex) return;
  // Refused while leadership is being transferred; then this is tried again, here or by the next leader.
  proposeAsLeader(core, EntryType.confChangeV2, EMPTY_BYTES);
}

/** What this member stored counts towards the quorum from now on, and not before. */
export function acknowledgeSelf(core: Core): void {
  if (core.self?.acknowledged(core.log.stableIndex)) commitIfQuorum(core);
}

/**
 * Commits what a quorum has. Entries of earlier terms are never committed by counting, only by a later entry of
 * this term (Raft, 5.4.2, figure 8).
 */
export function commitIfQuorum(core: Core): boolean {
  const index = core.tracker.committed();
  if (index <= core.log.committed || core.log.term(index) !== core.term) return false;
  core.log.commitTo(index);
  core.replicationDue = true;
  answerEarlyReads(core);
  return true;
}

/** Asks for the index that a linearizable read must wait for. */
export function readAsLeader(core: Core, from: bigint, context: Uint8Array): Refusal | undefined {
  if (core.reads.length + core.earlyReads.length >= core.config.maxPendingReads) {
    return "too many pending reads";
  }
  // Until it has committed an entry of its term, a leader does not know what is committed (Raft thesis, 6.4).
  if (!committedInTerm(core)) {
    core.earlyReads.push({ from, context });
  } else if (core.tracker.isSingleton && core.tracker.isVoter(core.id)) {
    answerRead(core, from, context, core.log.committed);
  } else {
    core.reads.add({ from, context, index: core.log.committed });
    core.heartbeatsDue = true;
  }
  return undefined;
}

function committedInTerm(core: Core): boolean {
  return core.log.term(core.log.committed) === core.term;
}

function answerEarlyReads(core: Core): void {
  if (core.earlyReads.length === 0) return;
  const reads = core.earlyReads;
  core.earlyReads = [];
  for (const read of reads) readAsLeader(core, read.from, read.context);
}

function answerRead(core: Core, from: bigint, context: Uint8Array, index: RaftIndex): void {
  if (from === core.id) core.readStates.push({ index, context });
  else send(core, { type: "readIndexResponse", to: from, from: core.id, term: core.term, index, context });
}

/** Hands over to a voter: at once when it has the whole log, else as soon as it has. */
export function transferAsLeader(core: Core, to: bigint): void {
  const progress = core.tracker.progress.get(to);
  if (progress === undefined || !core.tracker.isVoter(to) || to === core.id || to === core.transferee) return;
  // It should take no longer than an election timeout.
  core.ticksSinceContact = 0;
  core.transferee = to;
  if (progress.match === core.log.lastIndex) sendTimeoutNow(core, to);
  else sendAppend(core, to, progress, "even when empty");
}

/** Sends what has gathered since the last Ready: one message per follower, whatever the number of proposals. */
export function flushLeader(core: Core): void {
  if (core.heartbeatsDue) {
    core.heartbeatsDue = false;
    broadcastHeartbeat(core);
  }
  if (!core.replicationDue) return;
  core.replicationDue = false;
  for (const [id, progress] of core.tracker.progress) {
    if (progress === core.self) continue;
    sendAppends(core, id, progress);
    if (progress.wantsCommit(core.log.committed)) sendAppend(core, id, progress, "even when empty");
  }
}

export function stepLeader(core: Core, message: Message): void {
  switch (message.type) {
    case "propose":
      // Refusals are not reported: the member that forwarded them gives up after a while.
      for (const entry of message.entries) proposeAsLeader(core, entry.type, entry.data);
      return;
    case "readIndex":
      readAsLeader(core, message.from, message.context);
      return;
    case "transferLeader":
      return transferAsLeader(core, message.from);
    case "appendResponse":
      return onAppendResponse(core, message);
    case "heartbeatResponse":
      return onHeartbeatResponse(core, message);
    default:
      // Late answers to a campaign that is won.
      return;
  }
}

function onAppendResponse(core: Core, message: AppendResponse): void {
  const progress = core.tracker.progress.get(message.from);
  if (progress === undefined || message.from === core.id || message.index > core.log.lastIndex) return;
  progress.recentlyActive = true;
  if (message.reject) {
    const hint = core.log.lastPossibleMatch({ index: message.rejectHint, term: message.logTerm }).index;
    if (!progress.rejected(message.index, message.logTerm > 0 ? hint : message.rejectHint)) return;
    if (progress.state === "replicate") progress.becomeProbe();
    sendAppend(core, message.from, progress, "even when empty");
    return;
  }
  const answersProbe = progress.state === "probe" && progress.match === message.index;
  if (!progress.acknowledged(message.index) && !answersProbe) return;
  if (progress.state === "probe") progress.becomeReplicate();
  else if (progress.state === "replicate") progress.inflights.freeTo(message.index);
  // However the snapshot came to be there: the log reaches down to what the member has.
  else if (progress.match + 1 >= core.log.firstIndex) {
    progress.becomeProbe();
    progress.becomeReplicate();
  }
  // The commit index is news for everyone, and goes out with the next Ready, as do entries that the window now
  // has room for.
  if (!commitIfQuorum(core)) sendAppends(core, message.from, progress);
  core.replicationDue = true;
  if (message.from === core.transferee && progress.match === core.log.lastIndex) {
    sendTimeoutNow(core, message.from);
  }
}

function onHeartbeatResponse(core: Core, message: HeartbeatResponse): void {
  const progress = core.tracker.progress.get(message.from);
  if (progress === undefined) return;
  progress.recentlyActive = true;
  progress.paused = false;
  // Messages may have been lost: a member that lags, or is being probed, is asked where it is. When the window is
  // full this is an empty message, whose answer empties it.
  if (progress.match < core.log.lastIndex || progress.state === "probe") {
    sendAppend(core, message.from, progress, "even when empty");
  }
  const position = decodePosition(message.context);
  if (position === undefined) return;
  core.reads.acknowledged(message.from, position);
  for (const read of core.reads.takeConfirmed(core.tracker)) {
    answerRead(core, read.from, read.context, read.index);
  }
}

/** The transport could not deliver to a member: what was streamed to it is likely lost. */
export function onUnreachable(core: Core, id: bigint): void {
  const progress = core.tracker.progress.get(id);
  if (progress?.state === "replicate" && progress !== core.self) progress.becomeProbe();
}

/** The transport has delivered a snapshot to a member, or given up. */
export function onSnapshotSent(core: Core, id: bigint, delivered: boolean): void {
  const progress = core.tracker.progress.get(id);
  if (progress?.state !== "snapshot") return;
  if (delivered) progress.becomeProbe();
  else progress.abortSnapshot();
  // Delivered: the member's own answer comes first. Failed: the next heartbeat's answer is soon enough.
  progress.paused = true;
}

/** After a change of the configuration: it may need fewer members for a commit, or have new ones to bring up. */
export function onConfChange(core: Core): void {
  commitIfQuorum(core);
  core.replicationDue = true;
  if (core.transferee !== NO_MEMBER && !core.tracker.isVoter(core.transferee)) core.transferee = NO_MEMBER;
}

/**
 * A leader that was removed, or is a learner now, leads on until another voter has taken over: it may be the only
 * one who knows that the change is committed, and without that no other could be elected.
 */
function handOver(core: Core): void {
  let best = NO_MEMBER;
  let bestMatch = -1;
  for (const id of core.tracker.voters) {
    const match = core.tracker.progress.get(id)?.match ?? 0;
    if (match > bestMatch) [best, bestMatch] = [id, match];
  }
  transferAsLeader(core, best);
}

function broadcastHeartbeat(core: Core): void {
  core.ticksSinceHeartbeat = 0;
  const waiting = core.reads.length > 0;
  if (waiting) core.reads.acknowledged(core.id, core.reads.position);
  const context = waiting ? encodePosition(core.reads.position) : EMPTY_BYTES;
  for (const [id, progress] of core.tracker.progress) {
    if (progress === core.self) continue;
    // A member must not commit past what is known to match: its log may differ there.
    const commit = Math.min(progress.match, core.log.committed);
    send(core, { type: "heartbeat", to: id, from: core.id, term: core.term, commit, context });
    progress.sentCommit = commit;
  }
}

/** Sends messages with entries as far as the window and the log go. */
function sendAppends(core: Core, to: bigint, progress: Progress): void {
  while (sendAppend(core, to, progress, "only entries"));
}

function sendAppend(
  core: Core,
  to: bigint,
  progress: Progress,
  what: "only entries" | "even when empty",
): boolean {
  if (progress.mayNotSend) return false;
  const index = progress.next - 1;
  const logTerm = core.log.term(index);
  if (logTerm === undefined) return sendSnapshot(core, to, progress);
  const windowFull = progress.state === "replicate" && progress.inflights.full;
  const entries = windowFull ? [] : core.log.entriesFrom(progress.next, core.config.maxMessageBytes);
  if (entries === undefined) return sendSnapshot(core, to, progress);
  if (entries.length === 0 && what === "only entries") return false;
  const commit = core.log.committed;
  send(core, { type: "append", to, from: core.id, term: core.term, index, logTerm, entries, commit });
  let bytes = 0;
  for (const entry of entries) bytes += entryBytes(entry);
  progress.sent(entries.length, bytes);
  progress.sentCommit = commit;
  return true;
}

/** For a member that needs entries which are compacted. */
function sendSnapshot(core: Core, to: bigint, progress: Progress): boolean {
  if (!progress.recentlyActive) return false;
  const snapshot = core.log.unstable.snapshot ?? core.log.storage.snapshot();
  if (snapshot === undefined) return false;
  progress.becomeSnapshot(snapshot.index);
  send(core, { type: "snapshot", to, from: core.id, term: core.term, snapshot });
  return true;
}

function sendTimeoutNow(core: Core, to: bigint): void {
  send(core, { type: "timeoutNow", to, from: core.id, term: core.term });
}
