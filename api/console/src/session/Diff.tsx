// Two texts side by side; one above the other where there is no room.
import { useMemo } from "react";
import { diff, type Row } from "../transcript/diff";

const COLORS: Record<Row["kind"], [string, string]> = {
  same: ["", ""],
  removed: ["bg-removed", "bg-sunken"],
  added: ["bg-sunken", "bg-added"],
  changed: ["bg-removed", "bg-added"],
  gap: ["", ""],
};

export default function Diff({ path, before, after, names }: { path: string; before: string; after: string; names?: [string, string] }) {
  const rows = useMemo(() => diff(before, after), [before, after]);
  const created = before === "";
  const counts = rows.reduce((sum, row) => ({ added: sum.added + (row.right && row.kind !== "same" ? 1 : 0), removed: sum.removed + (row.left && row.kind !== "same" ? 1 : 0) }), { added: 0, removed: 0 });
  return (
    <div>
      <div className="flex items-center gap-3 bg-sunken px-3 py-1.5 text-xs">
        <span className="min-w-0 flex-1 truncate font-mono" title={path}>{names ? `${names[0]} → ${names[1]}` : path}</span>
        <span className="text-good">+{counts.added}</span>
        <span className="text-bad">−{counts.removed}</span>
      </div>
      <div tabIndex={0} role="region" aria-label={`Changes${path ? ` of ${path}` : ""}`} className="max-h-[480px] overflow-auto border-t border-line font-mono text-[12.5px] leading-5 focus-visible:-outline-offset-2">
        <Rows rows={rows} created={created} />
      </div>
    </div>
  );
}

/** Lines of both sides; of a new file there is one side only. */
export function Rows({ rows, created }: { rows: Row[]; created?: boolean }) {
  return rows.map((row, at) =>
    row.kind === "gap" ? (
      <div key={at} className="bg-sunken px-3 text-xs text-faint">⋯ {row.hidden} unchanged lines</div>
    ) : created ? (
      <Side key={at} side={row.right} color="bg-added" sign="+" />
    ) : (
      <div key={at} className="sm:grid sm:grid-cols-2 sm:divide-x sm:divide-line">
        <Side side={row.left} color={COLORS[row.kind][0]} sign={row.kind === "same" ? "" : "−"} />
        <Side side={row.right} color={COLORS[row.kind][1]} sign={row.kind === "same" ? "" : "+"} twin={row.kind === "same"} />
      </div>
    ),
  );
}

function Side({ side, color, sign, twin }: { side: Row["left"]; color: string; sign: string; twin?: boolean }) {
  return (
    <div className={`flex min-w-0 ${color} ${side ? "" : "max-sm:hidden"} ${twin ? "max-sm:hidden" : ""}`}>
      <span className="tnum w-10 shrink-0 pr-2 text-right text-xs leading-5 text-soft select-none">{side?.n}</span>
      <span className="w-4 shrink-0 text-soft select-none" aria-label={side ? (sign === "+" ? "added" : sign === "−" ? "removed" : undefined) : undefined}>{side ? sign : ""}</span>
      <span className="min-w-0 flex-1 pr-2 whitespace-pre-wrap wrap-anywhere">{side?.text}</span>
    </div>
  );
}
