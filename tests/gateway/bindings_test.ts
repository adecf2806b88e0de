import assert from "node:assert/strict";
import { test } from "node:test";
import { gatewayBindings } from "../../src/gateway/bindings.ts";
import { messagePlan } from "../../src/gateway/json_plan.ts";

/** The paths that etcd 3.7 registers with its gateway. */
const paths = `
/v3/kv/{range,put,deleterange,txn,compaction}
/v3/watch
/v3/lease/{grant,revoke,keepalive,timetolive,leases}
/v3/kv/lease/{revoke,timetolive,leases}
/v3/cluster/member/{add,remove,update,list,promote}
/v3/maintenance/{alarm,status,defragment,hash,hashkv,snapshot,transfer-leadership,downgrade}
/v3/auth/{enable,disable,status,authenticate}
/v3/auth/user/{add,get,list,delete,changepw,grant,revoke}
/v3/auth/role/{add,get,list,delete,grant,revoke}
/v3/lock/{lock,unlock}
/v3/election/{campaign,proclaim,leader,observe,resign}
`.trim().split("\n").flatMap((line) => {
  const match = /^(.*)\{(.*)\}$/.exec(line);
  return match === null ? [line] : match[2]!.split(",").map((name) => match[1] + name);
});

test("the gateway has every path of etcd's and no other", () => {
  assert.deepEqual([...gatewayBindings.keys()].sort(), paths.sort());
});

test("RangeStream alone of etcd's methods is not reached by JSON", () => {
  const bound = new Set([...gatewayBindings.values()]);
  const services = new Set([...bound].map((method) => method.parent));
  const missing = [...services].flatMap((service) => service.methods.filter((method) => !bound.has(method)));
  assert.deepEqual(missing.map((method) => method.name), ["RangeStream"]);
});

test("every message of the gateway has a JSON form, and replies declare fields in the order of their numbers", () => {
  for (const method of gatewayBindings.values()) {
    messagePlan(method.input);
    messagePlan(method.output);
    const numbers = method.output.fields.map((field) => field.number);
    assert.deepEqual(numbers, numbers.toSorted((a, b) => a - b), method.output.typeName);
  }
});
