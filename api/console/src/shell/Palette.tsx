// Everything by its name: places, actions, agents and sessions.
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import { Dialog as Base } from "@base-ui/react/dialog";
import { useMemo, useState } from "react";
import { useFeed } from "../lib/feed";
import { agents, executors } from "../lib/queries";
import { write } from "../lib/store";
import { state, title } from "../lib/words";
import { writeMail } from "../mail/draft";
import { Icon, type IconName } from "../ui/Icon";
import { newSession, PLACES } from "./Shell";
import { useShortcutMap } from "../lib/keys";

const SHOWN = 30;

export default function Palette({ onClose, openMap }: { onClose: () => void; openMap: () => void }) {
  const navigate = useNavigate();
  const { sessions } = useFeed();
  const { data: known } = useQuery(agents());
  const { data: machines } = useQuery({ ...executors, refetchInterval: false });
  const map = useShortcutMap();
  const [query, setQuery] = useState("");
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const has = (text: string) => words.every((word) => text.toLowerCase().includes(word));
  const found = useMemo(() => sessions.filter((one) => has(`session ${title(one)} ${one.id} ${one.agent.name} ${one.agent.model.id} ${state(one).label}`)).slice(0, SHOWN), [sessions, query]);
  const here = map.filter((set) => set.group !== "Everywhere").flatMap((set) => set.shortcuts);
  const run = (action: () => void) => () => {
    onClose();
    // After the dialog gave the focus back.
    setTimeout(action, 0);
  };
  return (
    <Base.Root open onOpenChange={(open) => !open && onClose()}>
      <Base.Portal>
        <Base.Backdrop className="veil fixed inset-0 z-40 bg-black/35" />
        <Base.Popup aria-label="Command palette" className="pop fixed inset-x-3 top-[12vh] z-50 mx-auto max-w-xl overflow-hidden rounded-xl border border-line bg-raised shadow-pop">
          <Command shouldFilter={false} loop label="Command palette">
            <div className="flex items-center gap-3 border-b border-line px-4">
              <Icon name="search" className="text-faint" />
              <Command.Input autoFocus value={query} onValueChange={setQuery} placeholder="Search sessions, agents and actions" className="h-12 min-w-0 flex-1 bg-transparent outline-none placeholder:text-faint" />
            </div>
            <Command.List className="max-h-[min(420px,60vh)] scroll-py-2 overflow-y-auto p-2">
              <Command.Empty className="px-3 py-8 text-center text-sm text-faint">Nothing is called that.</Command.Empty>
              <Group title="Here">{here.filter((one) => has(one.does)).map((one) => <Entry key={one.keys} icon="chevron" label={one.does} keys={one.keys} run={run(one.run)} />)}</Group>
              <Group title="Go to">{PLACES.filter((place) => has(`go to ${place.label}`)).map((place) => <Entry key={place.to} icon={place.icon} label={place.label} keys={`g ${place.key}`} run={run(() => void navigate({ to: place.to }))} />)}{has("go to first steps guide") && <Entry icon="leaf" label="First steps" run={run(() => void navigate({ to: "/welcome" }))} />}</Group>
              <Group title="Do">
                {has("new session") && <Entry icon="plus" label="New session" keys="n" run={run(newSession)} />}
                {has("write mail message") && <Entry icon="mail" label="Write mail" run={run(() => { void navigate({ to: "/mail" }); writeMail(); })} />}
                {has("keyboard map shortcuts") && <Entry icon="help" label="Keyboard map" keys="?" run={run(openMap)} />}
                {(["light", "dark", "system"] as const).map((theme) => has(`theme ${theme}`) && <Entry key={theme} icon={theme === "light" ? "sun" : theme === "dark" ? "moon" : "system"} label={`Theme: ${theme}`} run={run(() => write("theme", theme))} />)}
              </Group>
              <Group title="Sessions">{found.map((one) => <Entry key={one.id} value={one.id} icon="sessions" label={title(one)} hint={`${one.agent.name} · ${state(one).label}`} run={run(() => void navigate({ to: "/sessions/$session", params: { session: one.id } }))} />)}</Group>
              <Group title="Agents">{known?.filter((one) => has(`agent ${one.name} ${one.model.id}`)).slice(0, SHOWN).map((one) => <Entry key={one.id} value={one.id} icon="agents" label={one.name} hint={one.model.id} run={run(() => void navigate({ to: "/agents/$agent", params: { agent: one.id } }))} />)}</Group>
              <Group title="Machines">
                {machines?.filter((one) => has(`terminal on ${one.name} machine executor`)).slice(0, SHOWN).map((one) => <Entry key={one.id} value={`terminal ${one.id}`} icon="terminal" label={`Terminal on ${one.name}`} hint={one.status === "online" ? "Online" : "Offline"} run={run(() => void navigate({ to: "/executors/$executor", params: { executor: one.id } }))} />)}
                {machines?.filter((one) => has(`files of ${one.name} machine executor`)).slice(0, SHOWN).map((one) => <Entry key={one.id} value={`files ${one.id}`} icon="file" label={`Files of ${one.name}`} run={run(() => void navigate({ to: "/executors/$executor", params: { executor: one.id }, search: { panel: "files" } }))} />)}
              </Group>
            </Command.List>
          </Command>
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}

function Group({ title, children }: { title: string; children: React.ReactNode }) {
  const some = Array.isArray(children) ? children.flat().some(Boolean) : Boolean(children);
  return some && <Command.Group heading={title} className="[&_[cmdk-group-heading]]:px-3 [&_[cmdk-group-heading]]:pt-2 [&_[cmdk-group-heading]]:pb-1 [&_[cmdk-group-heading]]:text-xs [&_[cmdk-group-heading]]:text-faint">{children}</Command.Group>;
}

function Entry({ icon, label, hint, keys, value, run }: { icon: IconName; label: string; hint?: string; keys?: string; value?: string; run: () => void }) {
  return (
    <Command.Item value={value ?? label} onSelect={run} className="flex h-9 items-center gap-3 rounded-lg px-3 text-sm data-[selected=true]:bg-accent-soft">
      <Icon name={icon} className="text-faint" />
      <span className="min-w-0 flex-1 truncate">{label}</span>
      {hint && <span className="max-w-52 truncate text-xs text-soft">{hint}</span>}
      {keys && <kbd className="font-mono text-xs text-soft">{keys}</kbd>}
    </Command.Item>
  );
}
