"""The emulator process: ministack with our seams, on the loopback interface.

python -m local.cloud.emulator --port 4566 --valkey-host 127.0.0.1 --valkey-port 6379 --state-dir .slidr
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local.cloud import seams
from local.cloud.admin import Admin
from local.cloud.cache_node import CacheNode
from local.cloud.faults import Faults
from local.cloud.gateway import ACCESS_KEY, ACCOUNT, REGION, SECRET_KEY
from local.cloud.supervision import supervise

_LOGGER = logging.getLogger("slidr.emulator")
_HOST = "127.0.0.1"
# How long a thread may hold the interpreter while the event loop waits for it. The default of 5 ms would be added to
# an endpoint invocation whenever an event source encodes a batch.
_SWITCH_INTERVAL_S = 0.0005


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """How the emulator runs; directories are below `state`."""

    port: int
    valkey_host: str
    valkey_port: int
    state: Path
    buffer_interval_s: float  # of Firehose, instead of the stream's own
    container_command: str | None = None
    start_valkey: bool = False
    launcher: int | None = None  # the process that is starting the cloud
    ready_file: Path | None = None  # which it writes when it has

    @property
    def endpoint_url(self) -> str:
        """Where the emulator answers."""
        return f"http://{_HOST}:{self.port}"


def settings_from(arguments: Sequence[str]) -> EmulatorSettings:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.cloud.emulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--valkey-host", default=_HOST)
    parser.add_argument("--valkey-port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--buffer-interval", type=float, default=5.0, help="seconds that Firehose buffers at most")
    parser.add_argument("--container-command", help="what stands for the image's entry point")
    parser.add_argument("--start-valkey", action="store_true", help="own a Valkey server at the given port")
    parser.add_argument("--launcher", type=int, help="stop when this parent dies before it has written the ready file")
    parser.add_argument("--ready-file", type=Path)
    read = parser.parse_args(arguments)
    return EmulatorSettings(
        port=read.port,
        valkey_host=read.valkey_host,
        valkey_port=read.valkey_port,
        state=read.state_dir.absolute(),
        buffer_interval_s=read.buffer_interval,
        container_command=read.container_command,
        start_valkey=read.start_valkey,
        launcher=read.launcher,
        ready_file=read.ready_file,
    )


def _environment(settings: EmulatorSettings) -> dict[str, str]:
    """Return what ministack reads from its environment when it is imported."""
    return {
        "GATEWAY_PORT": str(settings.port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "REDIS_HOST": settings.valkey_host,
        "REDIS_PORT": str(settings.valkey_port),
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        "LOG_LEVEL": "WARNING",
        "STATE_DIR": str(settings.state / "tmp"),  # it keeps keys of services that we do not use
        "TMPDIR": str(settings.state / "tmp"),
        "AWS_ENDPOINT_URL": settings.endpoint_url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _install(settings: EmulatorSettings) -> Admin:
    """Put every seam in place (imports ministack, so the environment must be set before)."""
    from local.cloud import (  # noqa: PLC0415
        alarms,
        cfn_types,
        delivery,
        event_source,
        generated_secret,
        lambda_service,
        sagemaker_seam,
        scheduler_seam,
    )
    from local.cloud.containers import ContainerHost, command_from  # noqa: PLC0415
    from local.cloud.sagemaker import SageMaker  # noqa: PLC0415

    # No Docker, even where there is one: every machine runs the same local cloud.
    seams.replace("app._docker_socket_present", lambda: False)
    seams.replace("services.elasticache._get_docker", lambda: None)
    lambda_service.install(settings.state)
    sagemaker = SageMaker(ContainerHost(settings.state, command_from(settings.container_command)))
    sagemaker_seam.install(sagemaker)
    cfn_types.install()
    alarms.install()
    generated_secret.install()
    scheduler_seam.install()
    event_source.install()
    admin = Admin()
    admin.on_flush(delivery.install(settings.buffer_interval_s).flush)
    admin.add_processes(sagemaker.endpoints.processes)
    supervise("containers", sagemaker.endpoints.supervised)
    admin.at_shutdown(sagemaker.endpoints.remove_all)
    admin.at_shutdown(seams.reach("core.lambda_runtime.reset"))
    return admin


def _watch_launcher(launcher: int, ready_file: Path) -> None:
    """Stop this process when the one that is starting the cloud dies before the cloud is up."""
    while not ready_file.exists():
        if os.getppid() != launcher:
            _LOGGER.warning("the command that was starting the local cloud is gone: stopping")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        time.sleep(0.2)


async def _serve(settings: EmulatorSettings, admin: Admin) -> None:
    from hypercorn.asyncio import serve  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415

    config = Config()
    config.bind = [f"{_HOST}:{settings.port}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = Faults().in_front_of(admin.in_front_of(seams.reach("app.app")))
    await serve(app, config, shutdown_trigger=stop.wait)


def run(settings: EmulatorSettings) -> None:
    """Serve until asked to stop; children end with this process."""
    (settings.state / "tmp").mkdir(parents=True, exist_ok=True)
    os.environ.update(_environment(settings))
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    seams.assert_emulator_fits()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    pid_file = settings.state / "run" / "valkey.json"
    cache = (
        CacheNode(settings.state / "valkey", port=settings.valkey_port, pid_file=pid_file)
        if settings.start_valkey
        else None
    )
    admin = _install(settings)
    if cache is not None:
        admin.add_processes(lambda: {"valkey": cache.supervised.report()})
        supervise("the cache", lambda: [cache.supervised])
    if settings.launcher is not None and settings.ready_file is not None:
        watch = threading.Thread(target=_watch_launcher, args=(settings.launcher, settings.ready_file), daemon=True)
        watch.start()
    asyncio.run(_serve(settings, admin))
    _LOGGER.warning("stopped on request")
    admin.shut_down()
    if cache is not None:
        cache.stop()
    # Threads that still hold a request or a batch end here, and the kernel ends what children are left.
    os._exit(0)


if __name__ == "__main__":
    run(settings_from(sys.argv[1:]))
