from vyrox.db import Database, probe
async def test_probe(database: Database) -> None:
    await database.write(probe, 1.0)
