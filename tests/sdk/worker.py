"""The official `EnvironmentWorker` as a process that can be killed: `worker.py URL ENVIRONMENT KEY FOLDER MAX_IDLE_SECONDS`."""

import asyncio
import logging
import sys

import anthropic


async def main() -> None:
    url, environment, key, folder, max_idle = sys.argv[1:]
    # The client's own key is of no use here: a worker has its environment's, and nothing else.
    client = anthropic.AsyncAnthropic(base_url=url, api_key="none")
    worker = client.beta.environments.work.worker(
        environment_id=environment, environment_key=key, workdir=folder, max_idle=float(max_idle)
    )
    await worker.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
