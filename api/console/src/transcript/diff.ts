// Two texts side by side, line by line: Myers' shortest edit, bounded; beyond the bound everything counts as changed.

export interface Row {
  kind: "same" | "removed" | "added" | "changed" | "gap";
  left?: { n: number; text: string };
  right?: { n: number; text: string };
  hidden?: number;
}

const MOST_EDITS = 400;

type Edit = { kind: "same" | "removed" | "added"; left: number; right: number };

function edits(a: string[], b: string[]): Edit[] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let endA = a.length;
  let endB = b.length;
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) {
    endA -= 1;
    endB -= 1;
  }
  const all: Edit[] = [];
  for (let at = 0; at < start; at++) all.push({ kind: "same", left: at, right: at });
  all.push(...middle(a.slice(start, endA), b.slice(start, endB), start));
  for (let at = 0; endA + at < a.length; at++) all.push({ kind: "same", left: endA + at, right: endB + at });
  return all;
}

function middle(a: string[], b: string[], offset: number): Edit[] {
  const whole = (): Edit[] => [
    ...a.map((_, at): Edit => ({ kind: "removed", left: offset + at, right: -1 })),
    ...b.map((_, at): Edit => ({ kind: "added", left: -1, right: offset + at })),
  ];
  const most = Math.min(a.length + b.length, MOST_EDITS);
  const reach = new Map<number, number>([[1, 0]]);
  const trace: Map<number, number>[] = [];
  for (let d = 0; d <= most; d++) {
    trace.push(new Map(reach));
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1));
      let x = down ? (reach.get(k + 1) ?? 0) : (reach.get(k - 1) ?? 0) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      reach.set(k, x);
      if (x >= a.length && x - k >= b.length) return back(trace, a.length, b.length, offset);
    }
  }
  return whole();
}

function back(trace: Map<number, number>[], endX: number, endY: number, offset: number): Edit[] {
  const found: Edit[] = [];
  let x = endX;
  let y = endY;
  for (let d = trace.length - 1; d >= 0; d--) {
    const reach = trace[d] as Map<number, number>;
    const k = x - y;
    const down = k === -d || (k !== d && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1));
    const before = down ? k + 1 : k - 1;
    const fromX = reach.get(before) ?? 0;
    const fromY = fromX - before;
    while (x > fromX && y > fromY && x > 0) {
      x -= 1;
      y -= 1;
      found.push({ kind: "same", left: offset + x, right: offset + y });
    }
    if (d === 0) break;
    if (down) found.push({ kind: "added", left: -1, right: offset + fromY });
    else found.push({ kind: "removed", left: offset + fromX, right: -1 });
    x = fromX;
    y = fromY;
  }
  return found.reverse();
}

/** Rows to show; long unchanged stretches fold to `context` lines on either side (`Infinity`: none does). */
export function diff(before: string, after: string, context = 3): Row[] {
  const split = (text: string) => (text === "" ? [] : text.replace(/\n$/, "").split("\n"));
  const a = split(before);
  const b = split(after);
  const rows: Row[] = [];
  const left = (at: number) => ({ n: at + 1, text: a[at] ?? "" });
  const right = (at: number) => ({ n: at + 1, text: b[at] ?? "" });
  let removed: number[] = [];
  let added: number[] = [];
  const flush = () => {
    for (let at = 0; at < Math.max(removed.length, added.length); at++) {
      const [l, r] = [removed[at], added[at]];
      if (l !== undefined && r !== undefined) rows.push({ kind: "changed", left: left(l), right: right(r) });
      else if (l !== undefined) rows.push({ kind: "removed", left: left(l) });
      else if (r !== undefined) rows.push({ kind: "added", right: right(r) });
    }
    removed = [];
    added = [];
  };
  for (const edit of edits(a, b)) {
    if (edit.kind === "removed") removed.push(edit.left);
    else if (edit.kind === "added") added.push(edit.right);
    else {
      flush();
      rows.push({ kind: "same", left: left(edit.left), right: right(edit.right) });
    }
  }
  flush();
  return Number.isFinite(context) ? folded(rows, context) : rows;
}

function folded(rows: Row[], context: number): Row[] {
  const near = rows.map(() => false);
  rows.forEach((row, at) => {
    if (row.kind === "same") return;
    for (let by = -context; by <= context; by++) if (at + by >= 0 && at + by < rows.length) near[at + by] = true;
  });
  const shown: Row[] = [];
  for (let at = 0; at < rows.length; at++) {
    if (near[at]) {
      shown.push(rows[at] as Row);
      continue;
    }
    const from = at;
    while (at + 1 < rows.length && !near[at + 1]) at += 1;
    shown.push({ kind: "gap", hidden: at - from + 1 });
  }
  return shown;
}
