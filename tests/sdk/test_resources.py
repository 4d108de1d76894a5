"""Agents, environments and sessions: create, read, change, list, put away."""

import anthropic
import pytest
from conftest import World

TOOLS = [
    {"type": "agent_toolset_20260401", "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]},
    {"type": "mcp_toolset", "mcp_server_name": "docs"},
    {
        "type": "custom",
        "name": "get_weather",
        "description": "Weather of a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
]
SERVERS = [{"type": "url", "name": "docs", "url": "https://mcp.example.com/mcp"}]


def test_an_agent_and_its_versions(client: anthropic.Anthropic, world: World) -> None:
    agent = world.agent(
        name="versioned", system="Be brief.", description="d", tools=TOOLS, mcp_servers=SERVERS, metadata={"team": "a"}
    )
    assert (agent.version, agent.model.id, agent.system, agent.metadata) == (1, "rehearsal-1", "Be brief.", {"team": "a"})
    toolset = agent.tools[0]
    assert {config.name: config.permission_policy.type for config in toolset.configs}["bash"] == "always_ask"
    assert agent.tools[2].input_schema.required == ["city"]

    same = client.beta.agents.update(agent.id, version=1, name="versioned")
    assert same.version == 1, "an update that changes nothing makes no version"
    second = client.beta.agents.update(agent.id, version=1, system=None, metadata={"team": None, "tier": "b"})
    assert (second.version, second.system, second.metadata) == (2, None, {"tier": "b"})
    with pytest.raises(anthropic.ConflictError):
        client.beta.agents.update(agent.id, version=1, name="too late")

    assert client.beta.agents.retrieve(agent.id).version == 2
    assert client.beta.agents.retrieve(agent.id, version=1).system == "Be brief."
    assert sorted(one.version for one in client.beta.agents.versions.list(agent.id, limit=1)) == [1, 2]


def test_agents_are_listed_page_by_page_and_archived(client: anthropic.Anthropic, world: World) -> None:
    made = {world.agent(name=f"listed {n}").id for n in range(5)}
    listed = [agent.id for agent in client.beta.agents.list(limit=2)]
    assert made <= set(listed) and len(listed) == len(set(listed))
    gone = made.pop()
    assert client.beta.agents.archive(gone).archived_at is not None
    assert gone not in {agent.id for agent in client.beta.agents.list(limit=2)}
    assert gone in {agent.id for agent in client.beta.agents.list(limit=2, include_archived=True)}
    environment = world.environment()
    with pytest.raises(anthropic.APIStatusError) as refused:
        client.beta.sessions.create(agent=gone, environment_id=environment.id)
    assert refused.value.status_code in (400, 409)


def test_an_environment_lives_and_goes(client: anthropic.Anthropic, world: World) -> None:
    limited = {"type": "limited", "allowed_hosts": ["example.com"], "allow_package_managers": True}
    config = {"type": "cloud", "networking": limited, "packages": {"pip": ["requests"]}}
    environment = world.environment(config=config, description="d", metadata={"a": "b"})
    assert environment.config.networking.allowed_hosts == ["example.com"]
    assert environment.config.packages.pip == ["requests"] and environment.config.packages.npm == []
    renamed = client.beta.environments.update(environment.id, name=f"{environment.name} renamed", metadata={"a": None})
    assert renamed.name.endswith("renamed") and renamed.metadata == {}
    assert client.beta.environments.retrieve(environment.id).name == renamed.name
    with pytest.raises(anthropic.ConflictError):
        world.environment(name=renamed.name)
    others = {world.environment().id for _ in range(3)}
    assert others | {environment.id} <= {one.id for one in client.beta.environments.list(limit=2)}
    assert client.beta.environments.archive(environment.id).archived_at is not None
    assert environment.id not in {one.id for one in client.beta.environments.list(limit=50)}
    deleted = client.beta.environments.delete(others.pop())
    assert deleted.type == "environment_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.beta.environments.retrieve(deleted.id)


def test_a_session_keeps_its_agent_as_it_was(client: anthropic.Anthropic, world: World) -> None:
    agent = world.agent(system="first", tools=TOOLS, mcp_servers=SERVERS)
    session = world.session(agent, title="t", metadata={"k": "v"})
    assert (session.status, session.title, session.metadata) == ("idle", "t", {"k": "v"})
    assert (session.agent.id, session.agent.version, session.agent.system) == (agent.id, 1, "first")
    client.beta.agents.update(agent.id, version=1, system="second")
    assert client.beta.sessions.retrieve(session.id).agent.system == "first"
    changed = client.beta.sessions.update(session.id, title="u", metadata={"k": None, "l": "m"})
    assert (changed.title, changed.metadata) == ("u", {"l": "m"})
    pinned = {"type": "agent_with_overrides", "id": agent.id, "version": 1, "model": "rehearsal-1", "system": "mine"}
    other = client.beta.sessions.create(agent=pinned, environment_id=session.environment_id)
    assert other.agent.system == "mine"


def test_sessions_are_filtered_ordered_and_paged(client: anthropic.Anthropic, world: World) -> None:
    agent = world.agent()
    made = [world.session(agent).id for _ in range(5)]
    ids = lambda **options: [one.id for one in client.beta.sessions.list(agent_id=agent.id, limit=2, **options)]
    assert ids() == list(reversed(made)), "newest first"
    assert ids(order="asc") == made
    assert ids(statuses=["running", "rescheduling"]) == []
    assert ids(statuses=["idle"], agent_version=1) == list(reversed(made))
    assert ids(agent_version=2) == []
    middle = client.beta.sessions.retrieve(made[2]).created_at
    assert ids(order="asc", created_at_gt=middle) == made[3:]
    assert ids(order="asc", created_at_lte=middle) == made[:3]
    client.beta.sessions.archive(made[0])
    assert made[0] not in ids()
    assert made[0] in ids(include_archived=True)
    assert world.session().id not in ids(), "another agent's session"


def test_a_session_is_archived_and_deleted(client: anthropic.Anthropic, world: World) -> None:
    session = world.session()
    archived = client.beta.sessions.archive(session.id)
    assert archived.status == "terminated" and archived.archived_at is not None
    deleted = client.beta.sessions.delete(session.id)
    assert (deleted.id, deleted.type) == (session.id, "session_deleted")
    with pytest.raises(anthropic.NotFoundError):
        client.beta.sessions.retrieve(session.id)


def test_what_cannot_be_kept_is_refused_and_says_why(client: anthropic.Anthropic, world: World) -> None:
    for options, named in [
        ({"budget": {"type": "limit", "max_list_cost": {"amount": "100", "currency": "EUR"}}}, "budget"),
        ({"vault_ids": ["vlt_1"]}, "vault_ids"),
        ({"resources": [{"type": "file", "file_id": "file_1"}]}, "resources"),
    ]:
        with pytest.raises(anthropic.BadRequestError, match=named):
            world.session(**options)
    assert world.session(vault_ids=[], resources=[]).vault_ids == []


def test_a_sessions_budget_is_kept_and_changed(client: anthropic.Anthropic, world: World) -> None:
    def cents(amount: str) -> dict:
        return {"type": "limit", "max_list_cost": {"amount": amount, "currency": "USD"}}

    session = world.session(extra_body={"budget": cents("100")})
    kept = client.beta.sessions.retrieve(session.id).to_dict()
    assert kept["budget"] == cents("100")
    client.beta.sessions.update(session.id, extra_body={"budget": cents("250")})
    assert client.beta.sessions.retrieve(session.id).to_dict()["budget"] == cents("250")
