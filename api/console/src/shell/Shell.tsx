// Around every view: where one can go, what waits, and how the connection fares.
import { useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useState } from "react";
import type { Session } from "../api/model";
import { closeFeed, openFeed, useFeed, useWaiting, watchSessions } from "../lib/feed";
import { ask } from "../lib/http";
import { useShortcuts } from "../lib/keys";
import { useChoice } from "../lib/store";
import { state } from "../lib/words";
import { IconButton } from "../ui/basics";
import { Icon, type IconName } from "../ui/Icon";
import { tell } from "../ui/messages";
import { announce, mayAnnounce } from "./announce";

const Palette = lazy(() => import("./Palette"));
const KeyMap = lazy(() => import("./KeyMap"));
const NewSession = lazy(() => import("./NewSession"));

export const PLACES = [
  { to: "/", label: "Sessions", icon: "sessions", key: "s" },
  { to: "/approvals", label: "Approvals", icon: "approvals", key: "a" },
  { to: "/mail", label: "Mail", icon: "mail", key: "m" },
  { to: "/agents", label: "Agents", icon: "agents", key: "g" },
  { to: "/environments", label: "Environments", icon: "environments", key: "e" },
  { to: "/executors", label: "Executors", icon: "executors", key: "x" },
  { to: "/workers", label: "Workers", icon: "workers", key: "w" },
  { to: "/usage", label: "Usage", icon: "usage", key: "u" },
  { to: "/budgets", label: "Budgets", icon: "budgets", key: "b" },
  { to: "/keys", label: "Gateway keys", icon: "keys", key: "k" },
  { to: "/settings", label: "Settings", icon: "gear", key: "," },
] as const satisfies readonly { to: string; label: string; icon: IconName; key: string }[];

let openNew: (() => void) | undefined;
/** Opens the dialog of a new session, from wherever. */
export const newSession = () => openNew?.();

export function Shell() {
  const navigate = useNavigate();
  const path = useRouterState({ select: (at) => at.location.pathname });
  const [palette, setPalette] = useState(false);
  const [map, setMap] = useState(false);
  const [fresh, setFresh] = useState(false);
  const [drawer, setDrawer] = useState(false);
  const client = useQueryClient();

  useEffect(() => {
    openFeed();
    openNew = () => setFresh(true);
    const stop = watchSessions((session, before) => {
      announce(session, before);
      const waits = (one: Session | undefined) => one && state(one).key === "waiting";
      if (waits(session) || waits(before)) void client.invalidateQueries({ queryKey: ["approvals"] });
    });
    return () => {
      stop();
      closeFeed();
    };
  }, [client]);
  useEffect(() => setDrawer(false), [path]);

  useShortcuts("Everywhere", [
    { keys: "mod+k", does: "Command palette", run: () => setPalette(true), anywhere: true },
    { keys: "?", does: "Keyboard map", run: () => setMap(true) },
    { keys: "n", does: "New session", run: () => setFresh(true) },
    ...PLACES.map((place) => ({ keys: `g ${place.key}`, does: place.label, run: () => void navigate({ to: place.to }) })),
  ]);

  return (
    <div className="flex h-full flex-col md:flex-row">
      <a href="#main" className="sr-only focus:not-sr-only focus:fixed focus:top-2 focus:left-2 focus:z-50 focus:rounded-md focus:bg-raised focus:px-3 focus:py-1.5">Skip to content</a>
      <header className="flex h-12 shrink-0 items-center gap-2 border-b border-line bg-surface px-2 md:hidden">
        <IconButton icon="menu" label="Menu" aria-expanded={drawer} onClick={() => setDrawer(!drawer)} />
        <Brand />
        <span className="flex-1" />
        <Connection compact />
        <IconButton icon="search" label="Search" onClick={() => setPalette(true)} />
        <IconButton icon="plus" label="New session" onClick={() => setFresh(true)} />
      </header>
      {drawer && <button type="button" aria-label="Close the menu" className="fixed inset-0 z-20 bg-black/30 md:hidden" onClick={() => setDrawer(false)} />}
      <nav aria-label="Main" className={`${drawer ? "fixed inset-y-0 left-0 z-30 flex w-60 shadow-pop" : "hidden"} shrink-0 flex-col border-r border-line bg-surface p-2 md:flex md:w-14 lg:w-52`}>
        <div className="mb-2 hidden h-10 items-center px-1.5 md:flex"><Brand /></div>
        <button type="button" onClick={() => setPalette(true)} className="mb-2 flex h-[34px] items-center gap-2 rounded-[7px] border border-line bg-canvas px-2.5 text-sm text-faint hover:text-text md:max-lg:justify-center md:max-lg:px-0">
          <Icon name="search" /> <span className="flex-1 text-left md:max-lg:sr-only">Search</span> <kbd aria-hidden="true" className="font-mono text-xs md:max-lg:hidden">Ctrl K</kbd>
        </button>
        <ul className="min-h-0 flex-1 space-y-0.5 overflow-y-auto">
          {PLACES.map((place) => <li key={place.to}><Place {...place} /></li>)}
        </ul>
        <Foot openMap={() => setMap(true)} />
      </nav>
      <main id="main" tabIndex={-1} className="min-h-0 min-w-0 flex-1 outline-none">
        <Away />
        <Outlet />
      </main>
      <Suspense>
        {fresh && <NewSession onClose={() => setFresh(false)} />}
        {palette && <Palette onClose={() => setPalette(false)} openMap={() => setMap(true)} />}
        {map && <KeyMap onClose={() => setMap(false)} />}
      </Suspense>
    </div>
  );
}

function Brand() {
  return (
    <Link to="/" className="flex items-center gap-2 font-semibold" aria-label="Perennial, all sessions">
      <span className="flex size-7 items-center justify-center rounded-lg bg-accent text-on-accent"><Icon name="leaf" /></span>
      <span className="md:max-lg:hidden">Perennial</span>
    </Link>
  );
}

function Place({ to, label, icon }: (typeof PLACES)[number]) {
  const waiting = useWaiting();
  const badge = to === "/approvals" && waiting > 0 ? waiting : undefined;
  return (
    <Link
      to={to}
      activeOptions={{ exact: to === "/", includeSearch: false }}
      className="group relative flex h-9 items-center gap-2.5 rounded-[7px] px-2.5 text-sm text-soft hover:bg-hover hover:text-text data-[status=active]:bg-accent-soft data-[status=active]:font-medium data-[status=active]:text-accent md:max-lg:justify-center md:max-lg:px-0"
      title={label}
    >
      <Icon name={icon} />
      <span className="flex-1 md:max-lg:sr-only">{label}</span>
      {badge && <span className="tnum rounded-full bg-ask px-1.5 text-xs font-semibold text-canvas md:max-lg:absolute md:max-lg:top-0.5 md:max-lg:right-0.5">{badge}<span className="sr-only"> waiting</span></span>}
    </Link>
  );
}

function Foot({ openMap }: { openMap: () => void }) {
  const [theme, setTheme] = useChoice("theme", "system");
  const [notify, setNotify] = useChoice("notify", "off");
  const themes = { system: "light", light: "dark", dark: "system" } as const;
  const icons = { system: "system", light: "sun", dark: "moon" } as const;
  const known = theme as keyof typeof themes;
  async function bell() {
    if (notify === "on") return setNotify("off");
    if (await mayAnnounce()) return setNotify("on");
    tell("This browser lets the console show no notifications: its settings for this address decide", true);
  }
  async function leave() {
    await ask("DELETE", "/console/login").catch(() => undefined);
    location.assign("/login");
  }
  return (
    <div className="mt-2 border-t border-line pt-2">
      <Connection />
      <div className="mt-1 flex flex-wrap gap-0.5 md:max-lg:flex-col">
        <IconButton icon={icons[known]} label={`Theme: ${known}`} onClick={() => setTheme(themes[known])} />
        <IconButton icon="bell" label={notify === "on" ? "Notifications: on" : "Notifications: off"} aria-pressed={notify === "on"} className={notify === "on" ? "!text-accent" : ""} onClick={bell} />
        <IconButton icon="help" label="Keyboard map" keys="?" onClick={openMap} />
        <IconButton icon="logout" label="Log out" onClick={leave} />
      </div>
    </div>
  );
}

const HEALTH = {
  live: { label: "Live", color: "bg-good" },
  connecting: { label: "Connecting", color: "bg-strong pulse" },
  reconnecting: { label: "Reconnecting", color: "bg-ask pulse" },
  refused: { label: "Not connected", color: "bg-bad" },
};

function Connection({ compact }: { compact?: boolean }) {
  const { health } = useFeed();
  const { label, color } = HEALTH[health];
  return (
    <div role="status" title={health === "live" ? "Changes come as they happen" : "Trying to reach the server"} className="flex h-7 items-center gap-2.5 rounded-md px-2.5 text-xs text-soft md:max-lg:justify-center md:max-lg:px-0">
        <span className={`size-2 rounded-full ${color}`} />
      <span className={compact ? "max-sm:sr-only" : "md:max-lg:sr-only"}>{label}</span>
    </div>
  );
}

/** A restart of the server is a small notice: what is on the screen stays. */
function Away() {
  const { health, problem, complete } = useFeed();
  const [late, setLate] = useState(false);
  const away = health === "reconnecting" || health === "refused";
  useEffect(() => {
    setLate(false);
    if (!away) return;
    const timer = setTimeout(() => setLate(true), 800);
    return () => clearTimeout(timer);
  }, [away]);
  if (!late) return null;
  return (
    <div role="status" className="fixed bottom-3 left-1/2 z-30 flex max-w-[calc(100vw-24px)] -translate-x-1/2 items-center gap-2 rounded-full border border-line bg-raised px-4 py-1.5 text-sm text-ask shadow-pop">
      <span className="pulse size-2 rounded-full bg-ask" />
      {problem ?? (complete ? "The server is away; this is what it said last. Reconnecting…" : "The server does not answer. Reconnecting…")}
    </div>
  );
}
