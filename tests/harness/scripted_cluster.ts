import assert from "node:assert/strict";
import { EMPTY_BYTES, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import type { RaftOptions } from "../../src/raft/config.ts";
import {
  describeConf,
  describeEntry,
  describeMessage,
  describeReady,
  describeStatus,
} from "../../src/raft/describe.ts";
import {
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type Message,
} from "../../src/raft/types.ts";
import type { Command } from "./datadriven.ts";
import { RaftMember } from "./raft_member.ts";

const ROUNDS_MAX = 100;
const LINES_MAX = 10_000;
const TICKS_MAX = 1000;

/**
 * Members and the messages between them, driven by the commands of a script. Nothing happens that the script does
 * not say: `ready` and `save` take the steps of a driver, `deliver` moves messages, `stabilize` does all of it until
 * nothing is left to do.
 */
export class ScriptedCluster {
  readonly #members = new Map<bigint, RaftMember>();
  readonly #prng = new Prng(1);
  /** Sent and not delivered, in the order of sending. */
  #network: Message[] = [];
  /** Members of one set hear each other; without sets, everyone does. */
  #partitions: (readonly bigint[])[] = [];
  #options: Partial<RaftOptions> = {};

  run(command: Command): string {
    const words = [...command.words];
    const id = () => BigInt(required(words.shift(), "an id"));
    switch (command.name) {
      case "options":
        return this.#setOptions(command);
      case "bootstrap":
        return this.#bootstrap(words.map(BigInt));
      case "start":
        return this.#startAt(words.map(BigInt), command);
      case "campaign":
        return this.#of(id()).node.campaign() ? "ok" : "refused";
      case "elect":
        return this.#elect(id());
      case "tick":
        return this.#tick(id(), Number(words.shift() ?? "1"));
      case "tick-until-campaign":
        return this.#tickUntilCampaign(id());
      case "propose":
        return this.#propose(id(), words);
      case "change":
        return this.#change(id(), words, command.args.get("transition")?.[0] ?? "v1");
      case "read":
        return this.#of(id()).node.readIndex(utf8(required(words.shift(), "a context"))) ?? "ok";
      case "transfer":
        return this.#transfer(id(), id());
      case "ready":
        return this.#ready(id(), "one step");
      case "save":
        return this.#save(id());
      case "apply":
        return this.#apply(id(), Number(words.shift() ?? "Infinity"));
      case "deliver":
        return this.#deliver(id(), command);
      case "stabilize":
        return this.#stabilize(words.map(BigInt));
      case "partition":
        this.#partitions = [...command.args.values()].map((ids) => ids.map(BigInt));
        return "";
      case "heal":
        this.#partitions = [];
        return "";
      case "crash":
        return this.#crash(id());
      case "checkpoint":
        return this.#checkpoint(id());
      case "compact":
        this.#of(id()).compact(Number(words.shift()));
        return "";
      case "unreachable":
        this.#of(id()).node.reportUnreachable(id());
        return "";
      case "snapshot-sent":
        this.#of(id()).node.reportSnapshot(id(), !command.args.has("failed"));
        return "";
      case "status":
        return describeStatus(this.#of(id()).node.status());
      case "log":
        return this.#log(id());
      case "machine":
        return this.#machine(id());
      case "network":
        return this.#network.map(describeMessage).join("\n");
      default:
        throw new Error(`no command ${command.name}`);
    }
  }

  #of(id: bigint): RaftMember {
    const member = this.#members.get(id);
    assert.ok(member !== undefined, `no member ${id}`);
    return member;
  }

  #setOptions(command: Command): string {
    const number = (key: string) => {
      const value = command.args.get(key)?.[0];
      return value === undefined ? {} : { [key]: Number(value) };
    };
    const flag = (key: string) => {
      const value = command.args.get(key)?.[0];
      return value === undefined ? {} : { [key]: value === "true" };
    };
    this.#options = {
      ...flag("preVote"),
      ...flag("checkQuorum"),
      ...number("electionTicks"),
      ...number("heartbeatTicks"),
      ...number("maxMessageBytes"),
      ...number("maxInflightMessages"),
      ...number("maxCommittedBytesPerReady"),
      ...number("maxUncommittedBytes"),
      ...number("maxPendingReads"),
    };
    return "";
  }

  #add(id: bigint): RaftMember {
    const member = new RaftMember(id, { ...this.#options, prng: this.#prng.fork() });
    this.#members.set(id, member);
    return member;
  }

  #bootstrap(ids: readonly bigint[]): string {
    for (const id of ids) {
      this.#add(id).node.bootstrap(ids.map((peer) => ({ id: peer, context: EMPTY_BYTES })));
    }
    return "";
  }

  /** Members that hold a snapshot of the given configuration; without voters, members that hold nothing. */
  #startAt(ids: readonly bigint[], command: Command): string {
    const list = (key: string) => (command.args.get(key) ?? []).map(BigInt);
    for (const id of ids) {
      const member = this.#add(id);
      if (!command.args.has("voters")) continue;
      member.startAt({
        index: Number(command.args.get("index")?.[0] ?? "1"),
        term: 1,
        data: EMPTY_BYTES,
        confState: {
          voters: list("voters"),
          learners: list("learners"),
          votersOutgoing: list("outgoing"),
          learnersNext: list("next"),
          autoLeave: command.args.has("autoleave"),
        },
      });
    }
    return "";
  }

  /** Campaigns, and lets everything settle without telling about it. */
  #elect(id: bigint): string {
    assert.ok(this.#of(id).node.campaign());
    this.#stabilize([]);
    return describeStatus(this.#of(id).node.status()).split("\n")[0]!;
  }

  #tick(id: bigint, count: number): string {
    assert.ok(count <= TICKS_MAX);
    for (let tick = 0; tick < count; tick += 1) this.#of(id).node.tick();
    const { role, term } = this.#of(id).node.status();
    return `${role} term=${term}`;
  }

  #tickUntilCampaign(id: bigint): string {
    const member = this.#of(id);
    for (let ticks = 1; ticks <= TICKS_MAX; ticks += 1) {
      member.node.tick();
      const { role, term, ticksSinceContact } = member.node.status();
      // The count starts over with every attempt, also when the member was a candidate before.
      if (role !== "leader" && ticksSinceContact === 0) return `${role} term=${term}`;
    }
    throw new Error(`${TICKS_MAX} ticks without a campaign`);
  }

  #propose(id: bigint, texts: readonly string[]): string {
    return texts.map((text) => String(this.#of(id).node.propose(utf8(text)))).join(" ");
  }

  /** `change 1 v2 l3 r4 transition=auto|implicit|explicit|v1`: v adds a voter, l a learner, r removes, u updates. */
  #change(id: bigint, words: readonly string[], transition: string): string {
    const changes = words.map(parseChange);
    const node = this.#of(id).node;
    if (transition === "v1") {
      assert.equal(changes.length, 1, "transition=v1 is for one change");
      return String(node.proposeConfChange({ id: 0n, ...changes[0]!, context: EMPTY_BYTES }));
    }
    const how = transition === "auto"
      ? ConfChangeTransition.auto
      : transition === "implicit"
      ? ConfChangeTransition.jointImplicit
      : ConfChangeTransition.jointExplicit;
    return String(node.proposeConfChange({ transition: how, changes, context: EMPTY_BYTES }));
  }

  #transfer(id: bigint, to: bigint): string {
    this.#of(id).node.transferLeader(to);
    return "";
  }

  /** "one step" takes the Ready and sends; the save and the applying are commands of their own. */
  #ready(id: bigint, how: "one step" | "all"): string {
    const member = this.#of(id);
    const ready = member.takeReady();
    if (ready === undefined) return "nothing";
    this.#send(ready.messages);
    if (how === "all") {
      member.apply();
      this.#send(member.finishSave());
    }
    return describeReady(ready);
  }

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      if (message.type !== "snapshot") this.#network.push(message);
      // Drivers send the state of the moment, which is newer than the snapshot that the core knows of.
      else this.#network.push({ ...message, snapshot: this.#of(message.from).freshSnapshot() });
    }
  }

  #save(id: bigint): string {
    const member = this.#of(id);
    if (!member.isSaving) return "nothing";
    const messages = member.finishSave();
    this.#send(messages);
    return ["saved", ...messages.map((message) => `send ${describeMessage(message)}`)].join("\n");
  }

  #apply(id: bigint, count: number): string {
    const member = this.#of(id);
    const before = member.machine.index;
    member.apply(count);
    return `applied ${member.machine.index - before}, ${describeConf(member.machine.conf)}`;
  }

  /** `deliver 2 [from=1] [type=append] [drop] [last]`: everything for 2, or what fits; `last` keeps all but one waiting. */
  #deliver(id: bigint, command: Command): string {
    const from = command.args.get("from")?.[0];
    const type = command.args.get("type")?.[0];
    const fits = (message: Message) =>
      message.to === id && (from === undefined || message.from === BigInt(from)) &&
      (type === undefined || message.type === type);
    let chosen = this.#network.filter(fits);
    if (command.args.has("last")) chosen = chosen.slice(-1);
    this.#network = this.#network.filter((message) => !chosen.includes(message));
    if (command.args.has("drop")) {
      return chosen.map((message) => `drop ${describeMessage(message)}`).join("\n");
    }
    return chosen.map((message) => this.#hand(message)).join("\n");
  }

  #hand(message: Message): string {
    const reachable = this.#partitions.length === 0 ||
      this.#partitions.some((group) => group.includes(message.from) && group.includes(message.to));
    const member = this.#members.get(message.to);
    if (!reachable || member === undefined) return `lost ${describeMessage(message)}`;
    member.node.step(message);
    return `hear ${describeMessage(message)}`;
  }

  /** Drivers and network take turns until there is nothing left to do for these members, by default all. */
  #stabilize(ids: readonly bigint[]): string {
    const lines: string[] = [];
    const members = ids.length > 0 ? ids : [...this.#members.keys()];
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      let quiet = true;
      for (const id of members) {
        // What a Ready leaves over, because a save was under way, comes with the next one.
        for (let text = this.#ready(id, "all"); text !== "nothing"; text = this.#ready(id, "all")) {
          assert.ok(lines.length < LINES_MAX, `member ${id} is never done`);
          lines.push(`${id}:`, indented(text));
          quiet = false;
        }
      }
      for (const id of members) {
        const heard = this.#network.filter((message) =>
          message.to === id && !this.#isElsewhere(message, members)
        );
        if (heard.length === 0) continue;
        quiet = false;
        this.#network = this.#network.filter((message) => !heard.includes(message));
        lines.push(`${id}:`, ...heard.map((message) => indented(this.#hand(message))));
      }
      // Messages for members that do not exist go nowhere.
      this.#network = this.#network.filter((message) => this.#members.has(message.to));
      if (quiet) return lines.length === 0 ? "nothing" : lines.join("\n");
    }
    throw new Error(`not stable after ${ROUNDS_MAX} rounds:\n${lines.slice(-40).join("\n")}`);
  }

  #isElsewhere(message: Message, members: readonly bigint[]): boolean {
    return !members.includes(message.to);
  }

  #crash(id: bigint): string {
    const member = this.#of(id);
    member.crash(this.#prng);
    return describeStatus(member.node.status());
  }

  #checkpoint(id: bigint): string {
    this.#of(id).checkpoint();
    return `at ${this.#of(id).checkpointIndex}`;
  }

  #log(id: bigint): string {
    const { snapshot, entries } = this.#of(id).disk.content("written");
    const lines = entries.map(describeEntry);
    if (snapshot !== undefined) lines.unshift(`${snapshot.term}/${snapshot.index} snapshot`);
    return lines.join("\n");
  }

  #machine(id: bigint): string {
    const { index, texts, conf } = this.#of(id).machine;
    return `at ${index}: ${texts.join(" ")}\n${describeConf(conf)}`;
  }
}

function parseChange(word: string): ConfChangeSingle {
  const types: Record<string, ConfChangeType> = {
    v: ConfChangeType.addVoter,
    l: ConfChangeType.addLearner,
    r: ConfChangeType.remove,
    u: ConfChangeType.update,
  };
  const type = types[word[0]!];
  assert.ok(type !== undefined, `change ${word}: v, l, r or u and an id`);
  return { type, nodeId: BigInt(word.slice(1)) };
}

function required(word: string | undefined, what: string): string {
  assert.ok(word !== undefined, `${what} is missing`);
  return word;
}

function indented(text: string): string {
  return text.split("\n").map((line) => `  ${line}`).join("\n");
}
