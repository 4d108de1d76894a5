// What was used: tokens and money by day, and by model, agent and session.
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useMemo } from "react";
import type { UsageSum } from "../api/schema";
import { useFeed } from "../lib/feed";
import { count, money, short } from "../lib/format";
import { agents, usage } from "../lib/queries";
import { title } from "../lib/words";
import { Card, Empty, Lines, Page, Problem } from "../ui/basics";
import { Choice } from "../ui/Choice";

const Chart = lazy(() => import("./Chart"));
const BY = [{ key: "model", label: "Model" }, { key: "agent", label: "Agent" }, { key: "session", label: "Session" }, { key: "day", label: "Day" }];
const total = (sum: UsageSum) => sum.input_tokens + sum.output_tokens + sum.cache_read_input_tokens + sum.cache_creation_input_tokens;
const DAY = 86_400;

export function Usage() {
  const search = useSearch({ from: "/shell/usage" });
  const navigate = useNavigate({ from: "/usage" });
  const by = BY.find((one) => one.key === search.by)?.key ?? "model";
  const days = [7, 30, 90].includes(Number(search.days)) ? Number(search.days) : 30;
  const today = Math.floor(Date.now() / 1000 / DAY) * DAY;
  const from = new Date((today - (days - 1) * DAY) * 1000).toISOString();
  const daily = useQuery(usage("day", from, ""));
  const groups = useQuery(usage(by, from, ""));
  const { data: known } = useQuery(agents(true));
  const { sessions } = useFeed();
  const plotted = useMemo(() => {
    const found = new Map(daily.data?.map((sum) => [sum.group, sum]));
    const at = Array.from({ length: days }, (_, n) => today - (days - 1 - n) * DAY);
    const of = (time: number) => found.get(new Date(time * 1000).toISOString().slice(0, 10));
    const paid = at.some((time) => (of(time)?.cost_microusd ?? 0) > 0);
    return {
      at,
      tokens: [{ label: "Tokens", color: "--accent", values: at.map((time) => { const sum = of(time); return sum ? total(sum) : 0; }) }],
      cost: paid ? [{ label: "Cost", color: "--busy", values: at.map((time) => of(time)?.cost_microusd ?? 0) }] : undefined,
    };
  }, [daily.data, days, today]);
  const whole = daily.data?.reduce((sum, one) => ({ tokens: sum.tokens + total(one), cost: sum.cost + one.cost_microusd, requests: sum.requests + one.requests, errors: sum.errors + one.errors }), { tokens: 0, cost: 0, requests: 0, errors: 0 });
  const named = (group: string | null | undefined) => {
    if (!group) return <span className="text-faint">none</span>;
    if (by === "session") {
      const session = sessions.find((one) => one.id === group);
      return session ? <Link to="/sessions/$session" params={{ session: group }} className="text-accent hover:underline">{title(session)}</Link> : group;
    }
    if (by === "agent") return <Link to="/agents/$agent" params={{ agent: group }} className="text-accent hover:underline">{known?.find((one) => one.id === group)?.name ?? group}</Link>;
    return group;
  };
  const set = (change: { by?: string; days?: string }) => void navigate({ search: (before) => ({ ...before, ...change }), replace: true });
  return (
    <Page title="Usage" aside={<Choice label="Period" value={String(days)} options={[["7", "7 days"], ["30", "30 days"], ["90", "90 days"]]} onChange={(value) => set({ days: value })} />}>
      {!daily.data ? (daily.error ? <Problem error={daily.error} retry={() => void daily.refetch()} /> : <Lines />) : whole && whole.requests === 0 ? (
        <Empty icon="usage" title="Nothing was used yet"><p>Every request to a model is counted here, with its tokens and what it cost.</p></Empty>
      ) : (
        <div className="space-y-6">
          <dl className="grid grid-cols-2 gap-3 lg:grid-cols-4">
            {[["Tokens", short(whole?.tokens ?? 0)], ["Cost", money(whole?.cost ?? 0)], ["Requests", count(whole?.requests ?? 0)], ["Failed", count(whole?.errors ?? 0)]].map(([name, value]) => (
              <Card key={name} className="px-4 py-3"><dt className="text-sm text-faint">{name}</dt><dd className="tnum text-xl font-semibold">{value}</dd></Card>
            ))}
          </dl>
          <Card className="p-4"><h2 className="mb-2 font-medium">Tokens by day <span className="text-xs font-normal text-faint">UTC</span></h2><Suspense fallback={<div className="h-[270px]" />}><Chart days={plotted.at} series={plotted.tokens} format={short} /></Suspense></Card>
          {plotted.cost && <Card className="p-4"><h2 className="mb-2 font-medium">Cost by day</h2><Suspense fallback={<div className="h-[270px]" />}><Chart days={plotted.at} series={plotted.cost} format={money} /></Suspense></Card>}
          <Card>
            <div className="flex flex-wrap items-center gap-3 px-4 py-2.5"><h2 className="flex-1 font-medium">By {by}</h2><Choice label="Group by" value={by} options={BY.map((one) => [one.key, one.label])} onChange={(value) => set({ by: value })} /></div>
            <div className="overflow-x-auto" tabIndex={0} role="region" aria-label={`Usage by ${by}`}>
              <table className="tnum w-full min-w-[560px] text-sm">
                <thead className="bg-sunken text-left text-xs text-faint"><tr><th className="px-4 py-1.5 font-normal">{BY.find((one) => one.key === by)?.label}</th>{["Requests", "Input", "From cache", "Output", "Cost"].map((name) => <th key={name} className="px-4 text-right font-normal">{name}</th>)}</tr></thead>
                <tbody>
                  {groups.data?.map((sum) => (
                    <tr key={sum.group ?? "none"} className="border-t border-line"><td className="max-w-72 truncate px-4 py-2">{named(sum.group)}</td><td className="px-4 text-right">{count(sum.requests)}</td><td className="px-4 text-right">{count(sum.input_tokens)}</td><td className="px-4 text-right">{count(sum.cache_read_input_tokens)}</td><td className="px-4 text-right">{count(sum.output_tokens)}</td><td className="px-4 text-right">{money(sum.cost_microusd)}</td></tr>
                  ))}
                </tbody>
              </table>
            </div>
          </Card>
        </div>
      )}
    </Page>
  );
}
