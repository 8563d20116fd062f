"""`vyrox fake-discord`, as its users run it: a process of its own (contract 67)."""

import signal

import httpx

from tests.cli.test_mock_edr import line, running


async def test_it_prints_the_settings_of_a_service_that_uses_it_contract_67() -> None:
    async with running(command="fake-discord") as process:
        lines = [await line(process) for _ in range(6)]
        settings = dict(each.strip().split("=", 1) for each in lines[:4])
        headers = {
            "authorization": f"Bot {settings['DISCORD_BOT_TOKEN']}",
            "user-agent": "DiscordBot (https://x.invalid, 1)",
        }
        async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
            api = f"{settings['DISCORD_TEST_URL']}/api/v10"
            application = (await client.get(f"{api}/applications/@me")).json()
            words = lines[5].split()
            channel = (await client.get(f"{api}/channels/{words[7]}")).json()
        process.send_signal(signal.SIGTERM)
        rest, errors = await process.communicate()

    assert application["id"] == settings["DISCORD_APPLICATION_ID"]
    assert application["verify_key"] == settings["DISCORD_PUBLIC_KEY"]
    assert words[:5] == ["vyrox", "discord", "setup", "TENANT", "--guild"]
    assert words[5] == channel["guild_id"]
    assert (process.returncode, rest) == (0, b"")
    assert errors == b"vyrox: this is a fake Discord: no person ever sees a message\n"
