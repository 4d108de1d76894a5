import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import "./app.css";
import { lookAhead } from "./lib/ahead";
import { Offline, onSignedOut, Refused } from "./lib/http";
import { listenToKeys } from "./lib/keys";
import { applyTheme } from "./lib/store";
import { makeRouter } from "./routes";
import { Messages } from "./ui/messages";

applyTheme();
listenToKeys();

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // What the server refused it will refuse again; that it is away passes.
      retry: (count, error) => !(error instanceof Refused && error.status < 500) && count < (error instanceof Offline ? 5 : 2),
      networkMode: "always",
    },
    mutations: { networkMode: "always" },
  },
});
const router = makeRouter(client);
onSignedOut(() => {
  if (location.pathname !== "/login") void router.navigate({ to: "/login", search: { to: location.pathname + location.search } });
});

const session = /^\/sessions\/(\w+)$/.exec(location.pathname)?.[1];
if (session) {
  lookAhead(session);
  void import("./session/SessionView").catch(() => {});
}

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <RouterProvider router={router} />
        <Messages />
      </QueryClientProvider>
    </StrictMode>,
  );
}
