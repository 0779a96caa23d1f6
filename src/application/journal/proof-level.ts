/**
 * How much is proven about a snapshot, weakest first. `stored`: it is there; `checked`: its structure is whole; `re-read`: every
 * byte was read again; `restored`: its files were brought back; `opened`: and its databases and seals opened; `running`: and
 * the application answered its health check.
 */
export const PROOF_LEVELS = ['stored', 'checked', 're-read', 'restored', 'opened', 'running'] as const

export type ProofLevel = (typeof PROOF_LEVELS)[number]

/** 0 for `stored`; a stronger level has a higher rank. */
export function proofRank(level: ProofLevel): number {
  return PROOF_LEVELS.indexOf(level)
}

export function isProofLevel(text: unknown): text is ProofLevel {
  return PROOF_LEVELS.includes(text as ProofLevel)
}
