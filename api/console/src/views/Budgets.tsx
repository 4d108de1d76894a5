// Budgets: how much may be used, by everything, by a key or by a session.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { Budget } from "../api/schema";
import { count, full, money } from "../lib/format";
import { post, remove } from "../lib/http";
import { budgets, gatewayKeys } from "../lib/queries";
import { attempt } from "../session/actions";
import { Meter } from "../session/Inspector";
import { Button, Card, Empty, Field, IconButton, Lines, Page, Problem } from "../ui/basics";
import { Confirm, Dialog, Menu } from "../ui/overlay";

const amount = (budget: Budget, value: number) => (budget.unit === "microusd" ? money(value) : `${count(value)} ${budget.unit}`);

export function Budgets() {
  const client = useQueryClient();
  const { data, error, refetch } = useQuery(budgets);
  const { data: keys } = useQuery(gatewayKeys);
  const [editing, setEditing] = useState<Budget | "new">();
  const [deleting, setDeleting] = useState<Budget>();
  const again = () => client.invalidateQueries({ queryKey: ["budgets"] });
  const scope = (budget: Budget) => {
    const { type, id } = budget.scope as { type: string; id?: string };
    return type === "workspace" ? "Everything" : type === "key" ? `Key ${keys?.find((one) => one.id === id)?.name ?? id}` : `Session ${id}`;
  };
  return (
    <Page title="Budgets" aside={<Button look="primary" icon="plus" onClick={() => setEditing("new")}>New budget</Button>}>
      {!data ? (error ? <Problem error={error} retry={() => void refetch()} /> : <Lines />) : data.length === 0 ? (
        <Empty icon="budgets" title="No budgets"><p>A budget bounds requests, tokens or money. What a request may need is set aside before it leaves, so no crowd of sessions uses more.</p><p className="mt-4"><Button look="primary" icon="plus" onClick={() => setEditing("new")}>New budget</Button></p></Empty>
      ) : (
        <ul className="grid gap-4 md:grid-cols-2" aria-label="Budgets">
          {data.map((one) => (
            <li key={one.id}>
              <Card className="p-4">
                <div className="mb-3 flex items-start gap-2">
                  <div className="min-w-0 flex-1"><h2 className="truncate font-medium">{scope(one)}</h2><p className="text-sm text-soft">{amount(one, one.limit)} {one.period === "day" ? "a day" : "in total"}</p></div>
                  <Menu trigger={<IconButton icon="more" label={`Actions for the budget of ${scope(one)}`} />} actions={[{ label: "Change the limit", icon: "edit", run: () => setEditing(one) }, { label: "Delete", icon: "trash", danger: true, run: () => setDeleting(one) }]} />
                </div>
                <Meter used={one.used + one.reserved} limit={one.limit} label={`${amount(one, one.used)} used${one.reserved ? `, ${amount(one, one.reserved)} set aside` : ""}`} />
                {one.resets_at && <p className="mt-2 text-xs text-faint">Begins anew {full(one.resets_at)}</p>}
              </Card>
            </li>
          ))}
        </ul>
      )}
      <Dialog open={editing !== undefined} onClose={() => setEditing(undefined)} title={editing === "new" ? "New budget" : "Change the limit"}>{editing && <BudgetForm budget={editing === "new" ? undefined : editing} onDone={() => { setEditing(undefined); void again(); }} />}</Dialog>
      <Confirm open={deleting !== undefined} onClose={() => setDeleting(undefined)} title="Delete this budget?" action="Delete" run={() => void attempt(remove(`/budgets/${deleting?.id}`)).then(() => { setDeleting(undefined); return again(); })}>Sessions that rest for it go on.</Confirm>
    </Page>
  );
}

function BudgetForm({ budget, onDone }: { budget: Budget | undefined; onDone: () => void }) {
  const { data: keys } = useQuery(gatewayKeys);
  const [metric, setMetric] = useState(budget?.metric ?? "money");
  const [limit, setLimit] = useState(budget ? String(budget.unit === "microusd" ? budget.limit / 1e6 : budget.limit) : "");
  const [period, setPeriod] = useState(budget?.period ?? "day");
  const [scope, setScope] = useState("workspace");
  const [warn, setWarn] = useState(budget?.warn_percent == null ? "80" : String(budget.warn_percent));
  const save = useMutation({
    mutationFn: () => {
      const value = metric === "money" ? { amount: String(Math.round(Number(limit) * 100)), currency: "USD" } : Math.round(Number(limit));
      const warning = { warn_percent: warn ? Number(warn) : null };
      return budget ? post(`/budgets/${budget.id}`, { limit: value, ...warning }) : post("/budgets", { metric, limit: value, period, scope, ...warning });
    },
    onSuccess: onDone,
  });
  return (
    <form className="space-y-4" onSubmit={(event: FormEvent) => { event.preventDefault(); save.mutate(); }}>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label="Bounds">{(props) => <select {...props} className="field" disabled={Boolean(budget)} value={metric} onChange={(event) => setMetric(event.target.value)}><option value="money">Money</option><option value="tokens">Tokens</option><option value="requests">Requests</option></select>}</Field>
        <Field label={metric === "money" ? "Limit in US dollars" : "Limit"}>{(props) => <input {...props} className="field" type="number" required min="0" step={metric === "money" ? "0.01" : "1"} autoFocus value={limit} onChange={(event) => setLimit(event.target.value)} />}</Field>
        {!budget && <Field label="For">{(props) => <select {...props} className="field" value={scope} onChange={(event) => setScope(event.target.value)}><option value="workspace">Everything</option>{keys?.filter((one) => !one.revoked_at).map((one) => <option key={one.id} value={one.id}>Key {one.name || one.id}</option>)}</select>}</Field>}
        {!budget && <Field label="Period">{(props) => <select {...props} className="field" value={period} onChange={(event) => setPeriod(event.target.value)}><option value="day">A day</option><option value="total">In total</option></select>}</Field>}
        <Field label="Warn at (percent)">{(props) => <input {...props} className="field" type="number" min="1" max="99" value={warn} onChange={(event) => setWarn(event.target.value)} />}</Field>
      </div>
      {save.error && <Problem error={save.error} />}
      <div className="flex justify-end"><Button look="primary" type="submit" busy={save.isPending}>{budget ? "Save" : "Create"}</Button></div>
    </form>
  );
}
