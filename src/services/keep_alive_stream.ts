import { EtcdError } from "../base/errors.ts";
import type { Pending } from "../base/pending.ts";
import type { LeaseKeepAliveResponseInit } from "../gen/codec/etcdserverpb/lease_codec.ts";
import type { LeaseKeepAliveRequest } from "../gen/etcdserverpb/lease_pb.ts";
import type { StreamCall, StreamConsumer } from "../grpc/method.ts";
import type { LeaseKeeper } from "../server/lease_keeper.ts";

/** Renewals of one stream that may wait for an earlier one, or for the client to take its replies. */
const WAITING_MAX = 10_000;

/** One LeaseKeepAlive call: a reply to each request, in their order. */
export class KeepAliveStream implements StreamConsumer<LeaseKeepAliveRequest> {
  readonly #leases: LeaseKeeper;
  readonly #call: StreamCall<LeaseKeepAliveResponseInit>;
  readonly #header: () => Uint8Array;
  /** Leases to renew when the renewal under way is done. */
  #waiting: bigint[] = [];
  #isRenewing = false;
  #halfClosed = false;

  constructor(
    leases: LeaseKeeper,
    call: StreamCall<LeaseKeepAliveResponseInit>,
    header: () => Uint8Array,
  ) {
    this.#leases = leases;
    this.#call = call;
    this.#header = header;
  }

  onMessage({ ID }: LeaseKeepAliveRequest): void {
    if (!this.#isRenewing && this.#call.writable) return this.#renew(ID);
    if (this.#waiting.length >= WAITING_MAX) throw new EtcdError("tooManyRequests");
    this.#waiting.push(ID);
  }

  onHalfClose(): void {
    this.#halfClosed = true;
    this.#goOn();
  }

  onWritable(): void {
    this.#goOn();
  }

  onClose(): void {
    this.#waiting = [];
  }

  #renew(ID: bigint): void {
    // Made before the renewal: a client must not see a lease alive at a revision at which it was revoked.
    const header = this.#header();
    const renewed = this.#leases.renew(ID);
    if (typeof renewed === "number") return this.#call.send({ header, ID, TTL: renewed });
    this.#isRenewing = true;
    this.#await(renewed, header, ID);
  }

  #await(renewed: Pending<number>, header: Uint8Array, ID: bigint): void {
    renewed.observe({
      onValue: (TTL) => {
        this.#isRenewing = false;
        this.#call.send({ header, ID, TTL });
        this.#goOn();
      },
      onError: (error) => this.#call.fail(error),
    });
  }

  #goOn(): void {
    try {
      let at = 0;
      while (at < this.#waiting.length && !this.#isRenewing && this.#call.writable) {
        this.#renew(this.#waiting[at++]!);
      }
      this.#waiting.splice(0, at);
      if (this.#halfClosed && !this.#isRenewing && this.#waiting.length === 0) this.#call.end();
    } catch (error) {
      this.#call.fail(error);
    }
  }
}
