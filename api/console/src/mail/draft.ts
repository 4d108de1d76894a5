// A message somebody wants to write, from wherever: the mail view opens it as soon as it is there.

export interface Draft {
  to?: string | undefined;
  subject?: string | null | undefined;
  /** The message that is answered. */
  answers?: string | undefined;
}

let open: ((draft: Draft) => void) | undefined;
let wanted: Draft | undefined;

export function writeMail(draft: Draft = {}) {
  if (open) open(draft);
  else wanted = draft;
}

/** Takes drafts until it is told to stop. */
export function takeDrafts(take: (draft: Draft) => void): () => void {
  open = take;
  if (wanted) take(wanted);
  wanted = undefined;
  return () => {
    open = undefined;
  };
}
