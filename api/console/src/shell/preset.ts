// What new agents can do, and whom the next new session asks.

export const TOOLS = [{ type: "agent_toolset_20260401" }];

let agent = "";

export const presetAgent = (id: string) => {
  agent = id;
};

export function takePreset(): string {
  const taken = agent;
  agent = "";
  return taken;
}
