import { hexId, textOf } from "../base/bytes.ts";
import { ConfChangeError } from "./conf_change.ts";
import { confChangeOf } from "./conf_change_wire.ts";
import type { Status } from "./raw_node.ts";
import type { Ready } from "./ready.ts";
import {
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type ConfState,
  type Entry,
  EntryType,
  type Message,
} from "./types.ts";

// Texts for log lines and for the scripts that the tests compare. Ids are in hex, as etcd prints them.

/** `1/3 "data"`, or `1/3 confChange add 2`: term and index, then what it holds. */
export function describeEntry(entry: Entry): string {
  const at = `${entry.term}/${entry.index}`;
  if (entry.type !== EntryType.normal) return `${at} confChange ${describeConfChange(entry)}`;
  return entry.data.length === 0 ? `${at} empty` : `${at} ${JSON.stringify(textOf(entry.data))}`;
}

/** The changes that an entry carries: `add 2, learner 3`. */
export function describeConfChange(entry: Pick<Entry, "type" | "data">): string {
  try {
    const { changes, transition } = confChangeOf(entry);
    if (changes.length === 0) return "leave joint";
    const how = transition === ConfChangeTransition.auto
      ? ""
      : transition === ConfChangeTransition.jointImplicit
      ? " (joint, leaves by itself)"
      : " (joint)";
    return changes.map(describeChange).join(", ") + how;
  } catch (error) {
    if (error instanceof ConfChangeError) return `unreadable: ${error.message}`;
    throw error;
  }
}

export function describeChange(change: ConfChangeSingle): string {
  const id = hexId(change.nodeId);
  switch (change.type) {
    case ConfChangeType.addVoter:
      return `add ${id}`;
    case ConfChangeType.addLearner:
      return `learner ${id}`;
    case ConfChangeType.remove:
      return `remove ${id}`;
    case ConfChangeType.update:
      return `update ${id}`;
  }
}

/** `voters=(1 2)&&(1 3) learners=(4) next=(3) autoleave`; what is empty is left out. */
export function describeConf(conf: ConfState): string {
  const parts = [`voters=${ids(conf.voters)}`];
  if (conf.votersOutgoing.length > 0) parts[0] += `&&${ids(conf.votersOutgoing)}`;
  if (conf.learners.length > 0) parts.push(`learners=${ids(conf.learners)}`);
  if (conf.learnersNext.length > 0) parts.push(`next=${ids(conf.learnersNext)}`);
  if (conf.autoLeave) parts.push("autoleave");
  return parts.join(" ");
}

/** `1->2 append term=2 after 1/4 commit=4 [2/5 "x"]` and the like. */
export function describeMessage(message: Message): string {
  const head = `${hexId(message.from)}->${hexId(message.to)} ${message.type} term=${message.term}`;
  switch (message.type) {
    case "append":
      return `${head} after ${message.logTerm}/${message.index} commit=${message.commit} ${
        describeEntries(message.entries)
      }`;
    case "appendResponse":
      return message.reject
        ? `${head} index=${message.index} rejected, hint ${message.logTerm}/${message.rejectHint}`
        : `${head} index=${message.index}`;
    case "vote":
    case "preVote":
      return `${head} last ${message.logTerm}/${message.index}${message.transfer ? " transfer" : ""}`;
    case "voteResponse":
    case "preVoteResponse":
      return `${head} ${message.reject ? "rejected" : "granted"}`;
    case "snapshot": {
      const { term, index, confState } = message.snapshot;
      return `${head} at ${term}/${index} ${describeConf(confState)}`;
    }
    case "heartbeat":
      return `${head} commit=${message.commit}${describeContext(message.context)}`;
    case "heartbeatResponse":
      return head + describeContext(message.context);
    case "propose":
      return `${head} ${describeEntries(message.entries)}`;
    case "readIndex":
      return head + describeContext(message.context);
    case "readIndexResponse":
      return `${head} index=${message.index}${describeContext(message.context)}`;
    case "transferLeader":
    case "timeoutNow":
      return head;
  }
}

/** One line per kind of work in a Ready, in the order in which it is to be done. */
export function describeReady(ready: Ready): string {
  const lines: string[] = [];
  const { softState, hardState, snapshot } = ready;
  if (softState !== undefined) lines.push(`role ${softState.role}, leader ${hexId(softState.leader)}`);
  for (const message of ready.messages) lines.push(`send ${describeMessage(message)}`);
  for (const read of ready.readStates) lines.push(`read${describeContext(read.context)} at ${read.index}`);
  const save = ready.mustSync ? "save" : "save (no sync)";
  if (hardState !== undefined) {
    lines.push(`${save} term=${hardState.term} vote=${hexId(hardState.vote)} commit=${hardState.commit}`);
  }
  if (snapshot !== undefined) {
    lines.push(`${save} snapshot ${snapshot.term}/${snapshot.index} ${describeConf(snapshot.confState)}`);
  }
  for (const entry of ready.entries) lines.push(`${save} ${describeEntry(entry)}`);
  for (const message of ready.messagesAfterSave) lines.push(`then send ${describeMessage(message)}`);
  for (const entry of ready.committed) lines.push(`apply ${describeEntry(entry)}`);
  return lines.join("\n");
}

/** What matters about a member, in one line, and on a leader one more per member. */
export function describeStatus(status: Status): string {
  const lines = [
    `${hexId(status.id)} ${status.role} term=${status.term} vote=${hexId(status.vote)} leader=${
      hexId(status.leader)
    } applied=${status.applied} commit=${status.committed} last=${status.lastIndex} ${
      describeConf(status.conf)
    }`,
  ];
  for (const [id, member] of status.progress) {
    const flags = [
      member.isLearner ? " learner" : "",
      member.paused ? " paused" : "",
      member.pendingSnapshot > 0 ? ` snapshot=${member.pendingSnapshot}` : "",
      member.recentlyActive ? "" : " inactive",
      member.inflightMessages > 0 ? ` inflight=${member.inflightMessages}` : "",
    ];
    lines.push(`  ${hexId(id)} ${member.state} match=${member.match} next=${member.next}${flags.join("")}`);
  }
  return lines.join("\n");
}

function describeEntries(entries: readonly Entry[]): string {
  return `[${entries.map(describeEntry).join(", ")}]`;
}

function describeContext(context: Uint8Array): string {
  if (context.length === 0) return "";
  const printable = context.every((byte) => byte >= 32 && byte < 127);
  const hex = () => [...context].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return ` ctx=${printable ? textOf(context) : hex()}`;
}

function ids(list: readonly bigint[]): string {
  return `(${list.map(hexId).join(" ")})`;
}
