import { hexId } from "../base/bytes.ts";
import type { Process } from "../ports/process.ts";
import type { EtcdServer } from "../server/server.ts";

/** What etcd publishes under /debug/vars, in the form of Go's expvar; of the memory only what any runtime tells. */
export function debugVars(server: EtcdServer, process: Process): string {
  const vars = {
    cmdline: process.args,
    file_descriptor_limit: process.openFilesMax() ?? 0,
    memstats: { Sys: process.residentBytes() },
    "raft.status": raftStatus(server),
  };
  const lines = Object.entries(vars).map(([name, value]) =>
    `${JSON.stringify(name)}: ${JSON.stringify(value)}`
  );
  return `{\n${lines.join(",\n")}\n}\n`;
}

function raftStatus(server: EtcdServer): unknown {
  const { id, term, vote, committed, leader, role, applied, progress, transferee } = server.raftStatus();
  return {
    id: hexId(id),
    term,
    vote: hexId(vote),
    commit: committed,
    lead: hexId(leader),
    raftState: `State${capitalized(role)}`,
    applied,
    progress: Object.fromEntries(
      [...progress].map(([member, { match, next, state }]) => [
        hexId(member),
        { match, next, state: `State${capitalized(state)}` },
      ]),
    ),
    leadtransferee: hexId(transferee),
  };
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
