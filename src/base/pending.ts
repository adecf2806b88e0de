/** Is told the outcome of a `Pending`, once, synchronously when it settles. */
export interface PendingObserver<T> {
  onValue(value: T): void;
  onError(error: unknown): void;
}

/**
 * A result that comes later, without a promise: one object per call on the hot path, settled in the turn
 * in which the result exists. It is also a `PromiseLike`, so that everything off the hot path may await it.
 */
export class Pending<T> implements PromiseLike<T> {
  #observer: PendingObserver<T> | undefined;
  #state: "open" | "value" | "error" = "open";
  #value: T | undefined;
  #error: unknown;

  /** Sets the one observer; it is called at once when the result exists already. */
  observe(observer: PendingObserver<T>): void {
    if (this.#state === "open") this.#observer = observer;
    else if (this.#state === "value") observer.onValue(this.#value as T);
    else observer.onError(this.#error);
  }

  /** The first settlement counts; later ones are ignored (a timeout may have been first). */
  resolve(value: T): void {
    if (this.#state !== "open") return;
    this.#state = "value";
    this.#value = value;
    this.#observer?.onValue(value);
  }

  reject(error: unknown): void {
    if (this.#state !== "open") return;
    this.#state = "error";
    this.#error = error;
    this.#observer?.onError(error);
  }

  get settled(): boolean {
    return this.#state !== "open";
  }

  then<A = T, B = never>(
    onValue?: ((value: T) => A | PromiseLike<A>) | null,
    onError?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return new Promise<T>((resolve, reject) => {
      this.observe({ onValue: resolve, onError: reject });
    }).then(onValue, onError);
  }
}
