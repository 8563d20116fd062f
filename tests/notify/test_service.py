"""The service sends what waits (contract 58)."""

from pathlib import Path

from tests.audit import TENANT
from tests.notify.receiver import receiving
from tests.notify.samples import SECRET, announcement
from tests.service import running_service
from vyrox.clock import wall_clock
from vyrox.notify import targets
from vyrox.notify.messages import Band
from vyrox.notify.outbox import enqueue
from vyrox.notify.targets import Format
from vyrox.store.database import open_database
from vyrox.store.encryption import open_vault


async def test_service_sends_what_another_process_announces_contract_58(data_dir: Path) -> None:
    async with (
        receiving() as receiver,
        running_service(data_dir, NOTIFY_ALLOWED_HOSTS="127.0.0.1") as service,
        open_database(None, data_dir) as database,
    ):
        url = receiver.url + "/CANARY"
        sealed = targets.seal(open_vault((), data_dir), TENANT, url, SECRET)
        shown: tuple[str, Format, Band] = ("127.0.0.1", "vyrox", "urgent")
        await database.write(targets.add_target, sealed, shown, wall_clock())
        await database.write(enqueue, TENANT, 7, "urgent", announcement(), wall_clock())
        sent = await service.wait_for("notify.sent")
        assert (sent["target"], sent["incident"], sent["attempts"]) == (sealed.id, 7, 1)
        assert receiver.ids == [sent["notification"]]
        assert "CANARY" not in "".join(service.output)
