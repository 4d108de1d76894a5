// A message: to an agent, a session or a queue.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { Mail } from "../api/schema";
import { useFeed } from "../lib/feed";
import { post } from "../lib/http";
import { agents } from "../lib/queries";
import { title } from "../lib/words";
import { Button, Field, Problem } from "../ui/basics";
import { Dialog } from "../ui/overlay";
import type { Draft } from "./draft";
import { mailboxes, path } from "./queries";
import { address, called, type Kind } from "./words";

const KINDS: { key: Kind; label: string }[] = [
  { key: "agent", label: "An agent" },
  { key: "session", label: "A session" },
  { key: "queue", label: "A queue" },
];
/** Sessions one chooses from; of more one comes here from the session itself. */
const SESSIONS = 200;

export default function Write({ draft, onClose, onSent }: { draft: Draft; onClose: () => void; onSent: (mail: Mail) => void }) {
  return <Dialog open onClose={onClose} title={draft.answers ? "Answer" : "Write mail"}><Form draft={draft} onClose={onClose} onSent={onSent} /></Dialog>;
}

function Form({ draft, onClose, onSent }: { draft: Draft; onClose: () => void; onSent: (mail: Mail) => void }) {
  const client = useQueryClient();
  const known = useQuery(agents());
  const boxes = useQuery(mailboxes);
  const { sessions } = useFeed();
  const given = address(draft.to);
  const [kind, setKind] = useState<Kind>(given?.kind ?? "agent");
  const [names, setNames] = useState<Partial<Record<Kind, string>>>(given ? { [given.kind]: given.name } : {});
  const [subject, setSubject] = useState(draft.subject ?? "");
  const [text, setText] = useState("");
  const [queue, setQueue] = useState("");
  const taking = known.data?.filter((one) => one.mail) ?? [];
  const living = sessions.filter((one) => !one.archived_at && one.status !== "terminated").slice(0, SESSIONS);
  const choices: Record<Kind, { name: string; label: string }[]> = {
    agent: taking.map((one) => ({ name: one.name, label: one.name })),
    session: living.map((one) => ({ name: one.id, label: `${title(one)} · ${one.agent.name}` })),
    queue: boxes.data?.flatMap((box) => (address(box.address)?.kind === "queue" ? [{ name: box.address.slice(6), label: box.address.slice(6) }] : [])) ?? [],
  };
  const name = names[kind] ?? (kind === "queue" ? "" : (choices[kind][0]?.name ?? ""));
  const setName = (next: string) => setNames({ ...names, [kind]: next });
  const send = useMutation({
    mutationFn: () =>
      post<Mail>(`${path(`${kind}/${name.trim()}`)}/messages`, {
        content: text,
        ...(subject.trim() ? { subject: subject.trim() } : {}),
        ...(draft.answers ? { in_reply_to: draft.answers } : {}),
        ...(queue.trim() ? { reply_to: `queue/${queue.trim()}` } : {}),
      }),
    onSuccess: (mail) => {
      void client.invalidateQueries({ queryKey: ["mail"] });
      onClose();
      onSent(mail);
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    send.mutate();
  }
  const nobody = kind === "agent" && known.data && taking.length === 0;
  return (
    <form onSubmit={submit} className="space-y-4">
      {draft.answers && given ? (
        <p className="text-sm text-soft">To <span className="font-medium text-text">{called(`${given.kind}/${given.name}`, (id) => sessions.find((one) => one.id === id))}</span>, in the same thread</p>
      ) : (
        <div className="grid gap-4 sm:grid-cols-[150px_minmax(0,1fr)]">
          <Field label="To">
            {(props) => <select {...props} className="field" value={kind} onChange={(event) => setKind(event.target.value as Kind)}>{KINDS.map((one) => <option key={one.key} value={one.key}>{one.label}</option>)}</select>}
          </Field>
          <Field label={kind === "queue" ? "Queue" : kind === "agent" ? "Agent" : "Session"} hint={kind === "queue" ? "Programs receive from it; it is made by its first message" : nobody ? "No agent takes mail yet: edit one so that it does" : undefined}>
            {(props) => kind === "queue" ? (
              <>
                <input {...props} className="field" list="queues" required pattern="[A-Za-z0-9._\-]+" value={name} onChange={(event) => setName(event.target.value)} />
                <datalist id="queues">{choices.queue.map((one) => <option key={one.name} value={one.name} />)}</datalist>
              </>
            ) : (
              <select {...props} className="field" required value={name} onChange={(event) => setName(event.target.value)}>
                {choices[kind].map((one) => <option key={one.name} value={one.name}>{one.label}</option>)}
              </select>
            )}
          </Field>
        </div>
      )}
      <Field label="Subject">{(props) => <input {...props} className="field" maxLength={256} placeholder="Optional" value={subject} onChange={(event) => setSubject(event.target.value)} />}</Field>
      <Field label="Message">
        {(props) => (
          <textarea {...props} className="field min-h-32" rows={6} required autoFocus value={text} onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.form?.requestSubmit(); }} />
        )}
      </Field>
      {!draft.answers && (
        <details className="text-sm text-soft" open={queue !== ""}>
          <summary>Answers</summary>
          <div className="mt-2"><Field label="Answers go to the queue" hint="A person has no mailbox: without a queue an answer stays in the session that wrote it">{(props) => <input {...props} className="field" pattern="[A-Za-z0-9._\-]+" placeholder="Optional" value={queue} onChange={(event) => setQueue(event.target.value)} />}</Field></div>
        </details>
      )}
      {send.error && <Problem error={send.error} />}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button look="primary" type="submit" icon="mail" busy={send.isPending} disabled={!name || !text.trim()} keys="Ctrl ↵">Send</Button>
      </div>
    </form>
  );
}
