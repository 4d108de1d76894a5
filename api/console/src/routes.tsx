// Every address of the console on one screen. Views are loaded when they are opened.
import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, createRoute, createRouter, lazyRouteComponent, Outlet, redirect } from "@tanstack/react-router";
import { Refused } from "./lib/http";
import { login } from "./lib/queries";
import { Login } from "./shell/Login";
import { Shell } from "./shell/Shell";
import { Button, Empty, Lines, Problem } from "./ui/basics";
import { Sessions, type SessionFilters } from "./views/Sessions";

type Search = Record<string, unknown>;
const word = (search: Search, name: string) => (typeof search[name] === "string" && search[name] ? { [name]: search[name] as string } : {});
const words = <Name extends string>(...names: Name[]) => (search: Search) =>
  Object.assign({}, ...names.map((name) => word(search, name))) as { [name in Name]?: string };

function Lost() {
  return <Empty icon="search" title="There is no such page"><p>The address may be mistyped, or of another version.</p><p className="mt-4"><Button onClick={() => location.assign("/")}>All sessions</Button></p></Empty>;
}

const root = createRootRouteWithContext<{ client: QueryClient }>()({ component: Outlet, notFoundComponent: Lost });

const loginRoute = createRoute({ getParentRoute: () => root, path: "/login", validateSearch: words("to"), component: Login });

const shell = createRoute({
  getParentRoute: () => root,
  id: "shell",
  component: Shell,
  beforeLoad: async ({ context, location }) => {
    try {
      await context.client.ensureQueryData(login);
    } catch (error) {
      if (error instanceof Refused && error.status === 401) throw redirect({ to: "/login", search: { to: location.href } });
      throw error;
    }
  },
  errorComponent: ({ error, reset }) => <div className="mx-auto max-w-xl pt-24"><Problem error={error} retry={() => { reset(); location.reload(); }} /></div>,
  pendingComponent: () => <div className="mx-auto max-w-xl pt-24"><Lines /></div>,
});

const page = { getParentRoute: () => shell };
const sessions = createRoute({ ...page, path: "/", component: Sessions, validateSearch: words("q", "view", "agent", "harness", "new") as (search: Search) => SessionFilters });
const session = createRoute({ ...page, path: "/sessions/$session", validateSearch: words("event", "panel", "view", "terminal"), component: lazyRouteComponent(() => import("./session/SessionView"), "SessionView") });
const compare = createRoute({ ...page, path: "/compare/$left/$right", component: lazyRouteComponent(() => import("./session/Compare"), "Compare") });
const approvals = createRoute({ ...page, path: "/approvals", validateSearch: words("show"), component: lazyRouteComponent(() => import("./views/Approvals"), "Approvals") });
const agents = createRoute({ ...page, path: "/agents", validateSearch: words("archived"), component: lazyRouteComponent(() => import("./views/Agents"), "Agents") });
const agent = createRoute({ ...page, path: "/agents/$agent", validateSearch: words("left", "right"), component: lazyRouteComponent(() => import("./views/AgentView"), "AgentView") });
const environments = createRoute({ ...page, path: "/environments", component: lazyRouteComponent(() => import("./views/Environments"), "Environments") });
const executors = createRoute({ ...page, path: "/executors", component: lazyRouteComponent(() => import("./views/Executors"), "Executors") });
const machine = createRoute({ ...page, path: "/executors/$executor", validateSearch: words("panel", "terminal", "path"), component: lazyRouteComponent(() => import("./views/Machine"), "Machine") });
const mail = createRoute({ ...page, path: "/mail", validateSearch: words("box", "state", "message"), component: lazyRouteComponent(() => import("./views/Mail"), "Mail") });
const workers = createRoute({ ...page, path: "/workers", component: lazyRouteComponent(() => import("./views/Workers"), "Workers") });
const usage = createRoute({ ...page, path: "/usage", validateSearch: words("by", "days"), component: lazyRouteComponent(() => import("./views/Usage"), "Usage") });
const budgets = createRoute({ ...page, path: "/budgets", component: lazyRouteComponent(() => import("./views/Budgets"), "Budgets") });
const keys = createRoute({ ...page, path: "/keys", component: lazyRouteComponent(() => import("./views/Keys"), "Keys") });
const settings = createRoute({ ...page, path: "/settings", component: lazyRouteComponent(() => import("./views/Settings"), "Settings") });
const welcome = createRoute({ ...page, path: "/welcome", component: lazyRouteComponent(() => import("./views/Welcome"), "Welcome") });

const tree = root.addChildren([
  loginRoute,
  shell.addChildren([sessions, session, compare, approvals, agents, agent, environments, executors, machine, workers, mail, usage, budgets, keys, settings, welcome]),
]);

export const makeRouter = (client: QueryClient) =>
  createRouter({ routeTree: tree, context: { client }, defaultPreload: "intent", defaultPendingComponent: () => <Lines />, defaultPendingMs: 300 });

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
