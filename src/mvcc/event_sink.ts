/** One change to one key. */
export type StoreEvent = PutEvent | DeleteEvent;

interface PutEvent {
  readonly type: "put";
  /** Valid during the call of `onEvents` only: it may be a view into a request. */
  readonly key: Uint8Array;
  /** As it is stored. The bytes may be kept and are never changed. */
  readonly keyValue: Uint8Array;
  /** True for the put that created the key. */
  readonly created: boolean;
}

interface DeleteEvent {
  readonly type: "delete";
  /** Valid during the call of `onEvents` only. */
  readonly key: Uint8Array;
}

/** Is told what each write transaction changed, after it has become the current revision. */
export interface EventSink {
  /** The changes of one main revision in the order of their sub revisions: event i has sub revision i. */
  onEvents(main: number, events: readonly StoreEvent[]): void;
}
