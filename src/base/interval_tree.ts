/**
 * Values by interval [begin, end) of strings in code unit order, one per interval; an `end` of undefined is
 * past every string. A balanced (AVL) search tree by begin, then end, in which every node knows the furthest
 * end below it, so that finding the intervals around a point costs O(log n) each (Cormen et al.,
 * "Introduction to Algorithms", 14.3).
 *
 * Example: with [a, c), [b, undefined) and [x, y) a stab at "b" finds the first two, one at "y" the second.
 */
export class IntervalTree<V> {
  #root: Node<V> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(begin: string, end: string | undefined): V | undefined {
    let node = this.#root;
    while (node !== undefined) {
      const order = compare(begin, end, node);
      if (order === 0) return node.value;
      node = order < 0 ? node.left : node.right;
    }
    return undefined;
  }

  set(begin: string, end: string | undefined, value: V): void {
    this.#root = this.#insert(this.#root, begin, end, value);
  }

  /** Whether there was one. */
  delete(begin: string, end: string | undefined): boolean {
    const before = this.#size;
    this.#root = this.#remove(this.#root, begin, end);
    return this.#size < before;
  }

  /** Appends the values of all intervals that contain `point`, in the order of the intervals. */
  stab(point: string, found: V[]): void {
    if (this.#root !== undefined) stab(this.#root, point, found);
  }

  /** The value of the first interval. */
  first(): V | undefined {
    let node = this.#root;
    while (node?.left !== undefined) node = node.left;
    return node?.value;
  }

  /** In the order of the intervals. The tree may not change meanwhile. */
  *values(): IterableIterator<V> {
    const path: Node<V>[] = [];
    for (let node = this.#root; node !== undefined || path.length > 0;) {
      for (; node !== undefined; node = node.left) path.push(node);
      const next: Node<V> = path.pop()!;
      yield next.value;
      node = next.right;
    }
  }

  #insert(node: Node<V> | undefined, begin: string, end: string | undefined, value: V): Node<V> {
    if (node === undefined) {
      this.#size += 1;
      return { begin, end, furthest: end, height: 1, left: undefined, right: undefined, value };
    }
    const order = compare(begin, end, node);
    if (order === 0) {
      node.value = value;
      return node;
    }
    if (order < 0) node.left = this.#insert(node.left, begin, end, value);
    else node.right = this.#insert(node.right, begin, end, value);
    return balanced(node);
  }

  #remove(node: Node<V> | undefined, begin: string, end: string | undefined): Node<V> | undefined {
    if (node === undefined) return undefined;
    const order = compare(begin, end, node);
    if (order < 0) node.left = this.#remove(node.left, begin, end);
    else if (order > 0) node.right = this.#remove(node.right, begin, end);
    else {
      this.#size -= 1;
      if (node.left === undefined) return node.right;
      if (node.right === undefined) return node.left;
      return withoutFirst(node.right, (right, first) => {
        first.left = node.left;
        first.right = right;
        return balanced(first);
      });
    }
    return balanced(node);
  }
}

interface Node<V> {
  readonly begin: string;
  readonly end: string | undefined;
  /** Invariant: the largest end of this node and all below it; undefined is past every string. */
  furthest: string | undefined;
  height: number;
  left: Node<V> | undefined;
  right: Node<V> | undefined;
  value: V;
}

function compare<V>(begin: string, end: string | undefined, node: Node<V>): number {
  if (begin !== node.begin) return begin < node.begin ? -1 : 1;
  if (end === node.end) return 0;
  return isPast(node.end, end) ? -1 : 1;
}

/** Whether end `a` lies past end `b`. */
function isPast(a: string | undefined, b: string | undefined): boolean {
  return b !== undefined && (a === undefined || a > b);
}

function stab<V>(node: Node<V>, point: string, found: V[]): void {
  if (node.furthest !== undefined && node.furthest <= point) return;
  if (node.left !== undefined) stab(node.left, point, found);
  if (node.begin > point) return;
  if (node.end === undefined || point < node.end) found.push(node.value);
  if (node.right !== undefined) stab(node.right, point, found);
}

/** Takes the first node out of a subtree and hands the rest and the node to `join`. */
function withoutFirst<V>(
  node: Node<V>,
  join: (rest: Node<V> | undefined, first: Node<V>) => Node<V>,
): Node<V> {
  const path: Node<V>[] = [];
  let first = node;
  for (; first.left !== undefined; first = first.left) path.push(first);
  let rest = first.right;
  for (let parent = path.pop(); parent !== undefined; parent = path.pop()) {
    parent.left = rest;
    rest = balanced(parent);
  }
  return join(rest, first);
}

function heightOf<V>(node: Node<V> | undefined): number {
  return node === undefined ? 0 : node.height;
}

/** Derives a node's height and furthest end from its children. */
function update<V>(node: Node<V>): void {
  const { left, right } = node;
  node.height = 1 + Math.max(heightOf(left), heightOf(right));
  let furthest = node.end;
  if (left !== undefined && isPast(left.furthest, furthest)) furthest = left.furthest;
  if (right !== undefined && isPast(right.furthest, furthest)) furthest = right.furthest;
  node.furthest = furthest;
}

/** The root of a subtree whose two sides were balanced before and differ by two levels at most. */
function balanced<V>(node: Node<V>): Node<V> {
  const lean = heightOf(node.left) - heightOf(node.right);
  if (lean > 1) {
    const left = node.left!;
    if (heightOf(left.left) < heightOf(left.right)) node.left = rotateLeft(left);
    return rotateRight(node);
  }
  if (lean < -1) {
    const right = node.right!;
    if (heightOf(right.right) < heightOf(right.left)) node.right = rotateRight(right);
    return rotateLeft(node);
  }
  update(node);
  return node;
}

function rotateLeft<V>(node: Node<V>): Node<V> {
  const top = node.right!;
  node.right = top.left;
  update(node);
  top.left = node;
  update(top);
  return top;
}

function rotateRight<V>(node: Node<V>): Node<V> {
  const top = node.left!;
  node.left = top.right;
  update(node);
  top.right = node;
  update(top);
  return top;
}
