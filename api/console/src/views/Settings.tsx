// What this server was started with, and what is chosen on this browser.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { plural } from "../lib/format";
import { budgets, gatewayKeys, type ServerSettings, settings } from "../lib/queries";
import { useChoice } from "../lib/store";
import { Card, Chip, Copy, Lines, Page, Problem, Status } from "../ui/basics";
import { Choice } from "../ui/Choice";

const WIRES = { messages: "Anthropic Messages", responses: "OpenAI Responses", chat: "OpenAI Chat" };
const KEYS = { set: { tone: "good", label: "Key set" }, missing: { tone: "ask", label: "Key missing" }, not_needed: { tone: "quiet", label: "Needs none" } } as const;

export function Settings() {
  const { data, error, refetch } = useQuery(settings);
  return (
    <Page title="Settings">
      {!data ? (error ? <Problem error={error} retry={() => void refetch()} /> : <Lines />) : (
        <div className="max-w-3xl space-y-8">
          <Browser />
          <Models settings={data} />
          <Prices settings={data} />
          <Bounds />
          <Server settings={data} />
        </div>
      )}
    </Page>
  );
}

function Part({ title, hint, children }: { title: string; hint?: ReactNode; children: ReactNode }) {
  return (
    <section aria-label={title}>
      <h2 className="font-semibold">{title}</h2>
      {hint && <p className="mt-0.5 text-sm text-soft">{hint}</p>}
      <Card className="mt-2.5 overflow-hidden">{children}</Card>
    </section>
  );
}

function Line({ name, hint, children }: { name: ReactNode; hint?: ReactNode; children: ReactNode }) {
  return (
    <div className="flex min-h-[46px] flex-wrap items-center gap-x-4 gap-y-1 border-b border-line px-4 py-2 last:border-b-0">
      <div className="min-w-0 flex-1"><div className="text-sm">{name}</div>{hint && <div className="text-xs text-faint wrap-anywhere">{hint}</div>}</div>
      <div className="flex min-w-0 items-center gap-2 text-sm text-soft">{children}</div>
    </div>
  );
}

function Browser() {
  const [theme, setTheme] = useChoice("theme", "system");
  const [single, setSingle] = useChoice("shortcuts", "on");
  return (
    <Part title="This browser">
      <Line name="Theme"><Choice label="Theme" value={theme} options={[["system", "System"], ["light", "Light"], ["dark", "Dark"]]} onChange={setTheme} /></Line>
      <Line name="Single keys" hint="Letters are shortcuts; turn it off for speech input and screen readers that need them"><Choice label="Single keys" value={single} options={[["on", "On"], ["off", "Off"]]} onChange={setSingle} /></Line>
    </Part>
  );
}

function Models({ settings }: { settings: ServerSettings }) {
  return (
    <Part title="Models" hint={<>New agents ask <span className="font-mono text-xs">{settings.default_model || "no model"}</span> unless they name another.</>}>
      {settings.providers === null ? <Line name="This process asks no models itself" hint="Its workers do, with their own configuration">–</Line> : settings.providers.length === 0 ? <Line name="No provider is configured" hint="Rehearsal models answer without one">–</Line> : settings.providers.map((one) => (
        <Line key={one.name} name={<span className="font-medium">{one.name}</span>} hint={<>{WIRES[one.wire]}{one.setting && <> · set <span className="font-mono">{one.setting}</span> where the server runs, and start it again</>}</>}>
          <span className="flex flex-wrap gap-1">{one.models?.map((model) => <Chip key={model}>{model}</Chip>)}</span>
          <Status {...KEYS[one.key]} />
        </Line>
      ))}
    </Part>
  );
}

function Prices({ settings }: { settings: ServerSettings }) {
  const dollars = (value: number) => `$${value.toFixed(2)}`;
  return (
    <Part title="Prices" hint="US dollars for a million tokens. They are configuration: a model without one is counted as costing nothing, and refused where a budget limits money.">
      {settings.prices.length === 0 ? <Line name="No prices are set" hint={<>One for each model in the configuration file: <span className="font-mono">[prices."anthropic/claude-sonnet-4-5"]</span></>}>–</Line> : (
        <div className="overflow-x-auto" tabIndex={0} role="region" aria-label="Prices of models">
          <table className="tnum w-full min-w-[520px] text-sm">
            <thead className="bg-sunken text-left text-xs text-faint"><tr><th className="px-4 py-1.5 font-normal">Model</th>{["Input", "Output", "From cache", "To cache"].map((name) => <th key={name} className="px-4 text-right font-normal">{name}</th>)}</tr></thead>
            <tbody>{settings.prices.map((one) => <tr key={one.model} className="border-t border-line"><td className="px-4 py-2 font-mono text-xs">{one.model}</td>{[one.input, one.output, one.cache_read, one.cache_write].map((value, at) => <td key={at} className="px-4 text-right">{dollars(value)}</td>)}</tr>)}</tbody>
          </table>
        </div>
      )}
    </Part>
  );
}

function Bounds() {
  const { data: limits } = useQuery(budgets);
  const { data: keys } = useQuery(gatewayKeys);
  const live = keys?.filter((one) => one.kind !== "turn" && !one.revoked_at).length;
  return (
    <Part title="Who may use how much">
      <Line name="Budgets" hint="How many requests, tokens or how much money may be used"><Link to="/budgets" className="text-accent hover:underline">{limits ? plural(limits.length, "budget") : "…"}</Link></Line>
      <Line name="Gateway keys" hint="Models for other programs, without a provider’s key"><Link to="/keys" className="text-accent hover:underline">{live === undefined ? "…" : plural(live, "key")}</Link></Line>
    </Part>
  );
}

function Server({ settings }: { settings: ServerSettings }) {
  return (
    <Part title="This server">
      <Line name="Version">{settings.version}</Line>
      <Line name="Address" hint="Where programs find its API"><span className="font-mono text-xs">{location.origin}</span><Copy text={location.origin} label="" name="Copy the address" /></Line>
      <Line name="Workspace"><span className="min-w-0 truncate font-mono text-xs">{settings.workspace_id}</span></Line>
      <Line name="Your login" hint="What you send is logged as sent by it"><span className="min-w-0 truncate font-mono text-xs">{settings.key_id}</span></Line>
    </Part>
  );
}
