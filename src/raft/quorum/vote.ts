/** The outcome of an election so far. */
export type VoteResult = "pending" | "lost" | "won";
