// Virtual keys of the model gateway: models for other programs, without a provider's key leaving this server.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { GatewayKey } from "../api/schema";
import { day } from "../lib/format";
import { post, remove } from "../lib/http";
import { gatewayKeys } from "../lib/queries";
import { attempt } from "../session/actions";
import { Button, Card, Chip, Copy, Empty, Field, Lines, Page, Problem } from "../ui/basics";
import { Confirm, Dialog } from "../ui/overlay";

export function Keys() {
  const client = useQueryClient();
  const { data, error, refetch } = useQuery(gatewayKeys);
  const [fresh, setFresh] = useState(false);
  const [revoking, setRevoking] = useState<GatewayKey>();
  const again = () => client.invalidateQueries({ queryKey: ["keys"] });
  const shown = data?.filter((one) => one.kind !== "turn");
  return (
    <Page title="Gateway keys" aside={<Button look="primary" icon="plus" onClick={() => setFresh(true)}>New key</Button>}>
      {!data ? (error ? <Problem error={error} retry={() => void refetch()} /> : <Lines />) : !shown?.length ? (
        <Empty icon="keys" title="No gateway keys"><p>Programs ask models through this server with a key of yours: bounded by models, budgets and time, and revoked at once.</p><p className="mt-4"><Button look="primary" icon="plus" onClick={() => setFresh(true)}>New key</Button></p></Empty>
      ) : (
        <Card>
          <ul className="divide-y divide-line" aria-label="Gateway keys">
            {shown.map((one) => (
              <li key={one.id} className="flex items-center gap-4 px-4 py-3">
                <div className="min-w-0 flex-1">
                  <div className={`truncate font-medium ${one.revoked_at ? "text-faint line-through" : ""}`}>{one.name || one.id}</div>
                  <div className="flex flex-wrap items-center gap-1.5 text-xs text-faint">{one.kind} · made {day(one.created_at)}{one.expires_at && ` · until ${day(one.expires_at)}`}{one.models?.map((model) => <Chip key={model}>{model}</Chip>)}</div>
                </div>
                {one.revoked_at ? <Chip>Revoked</Chip> : <Button small look="danger" onClick={() => setRevoking(one)}>Revoke</Button>}
              </li>
            ))}
          </ul>
        </Card>
      )}
      <Dialog open={fresh} onClose={() => setFresh(false)} title="New gateway key">{fresh && <KeyForm onMade={() => void again()} onClose={() => setFresh(false)} />}</Dialog>
      <Confirm open={revoking !== undefined} onClose={() => setRevoking(undefined)} title={`Revoke ${revoking?.name || "this key"}?`} action="Revoke" run={() => void attempt(remove(`/gateway_keys/${revoking?.id}`)).then(() => { setRevoking(undefined); return again(); })}>Whoever uses it is refused within seconds.</Confirm>
    </Page>
  );
}

function KeyForm({ onMade, onClose }: { onMade: () => void; onClose: () => void }) {
  const [name, setName] = useState("");
  const [models, setModels] = useState("");
  const [days, setDays] = useState("");
  const make = useMutation({
    mutationFn: () => {
      const list = models.split(/[\s,]+/).filter(Boolean);
      return post<GatewayKey>("/gateway_keys", { name, ...(list.length ? { models: list } : {}), ...(days ? { expires_in_seconds: Number(days) * 86_400 } : {}) });
    },
    onSuccess: onMade,
  });
  if (make.data?.secret) {
    return (
      <div className="space-y-4">
        <p className="text-sm text-soft">This is the only time it is shown. Use it as <code className="font-mono text-xs">x-api-key</code> or bearer of <code className="font-mono text-xs wrap-anywhere">{location.origin}/llm</code>.</p>
        <div className="flex items-center gap-2 rounded-lg border border-line bg-sunken p-2"><code className="min-w-0 flex-1 font-mono text-xs wrap-anywhere">{make.data.secret}</code><Copy text={make.data.secret} /></div>
        <div className="flex justify-end"><Button look="primary" onClick={onClose}>Done</Button></div>
      </div>
    );
  }
  return (
    <form className="space-y-4" onSubmit={(event: FormEvent) => { event.preventDefault(); make.mutate(); }}>
      <Field label="Name">{(props) => <input {...props} className="field" required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}</Field>
      <Field label="Models" hint="Separated by spaces; empty: all of them">{(props) => <input {...props} className="field" value={models} onChange={(event) => setModels(event.target.value)} />}</Field>
      <Field label="Days it is good for" hint="Empty: until it is revoked">{(props) => <input {...props} className="field" type="number" min="1" value={days} onChange={(event) => setDays(event.target.value)} />}</Field>
      {make.error && <Problem error={make.error} />}
      <div className="flex justify-end"><Button look="primary" type="submit" busy={make.isPending}>Make</Button></div>
    </form>
  );
}
