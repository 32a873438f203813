"""Celery's settings; the arm registry defines the queues, orchestrator.settings the addresses."""

from kombu import Queue

from orchestrator.chord import outbox
from orchestrator.connections.redis_client import TIMEOUT_SECONDS
from orchestrator.models.arm_capability import ALL_QUEUES
from orchestrator.queue import transport
from orchestrator.queue.app import TASK_NAMES, WEBHOOK_QUEUE, WEBHOOK_TASK

task_queues = [Queue(name, routing_key=name) for name in (*ALL_QUEUES, WEBHOOK_QUEUE)]
task_create_missing_queues = True

task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]
result_accept_content = ["json"]

# a message is finished after its outcome is in Postgres; a dead child's message goes back to its queue at once
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
worker_disable_prefetch = True

# the rows decide what is published again and when: the transport keeps no copy of a taken message in Redis, and the
# visibility timeout only concerns what workers of an earlier release had taken
broker_transport_options = {
    "visibility_timeout": 3600,
    "priority_steps": list(transport.PRIORITY_STEPS),
    "health_check_interval": 25,
    "socket_connect_timeout": TIMEOUT_SECONDS,
    # a consumer reads only when data is there, so this limits publishing only
    "socket_timeout": TIMEOUT_SECONDS,
    # read by orchestrator.queue.transport, which drops messages for other tasks
    "known_tasks": (*TASK_NAMES.values(), WEBHOOK_TASK),
}
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
task_publish_retry_policy = outbox.RETRY

result_backend_always_retry = True
result_backend_max_retries = 100
result_backend_base_sleep_between_retries_ms = 50
result_backend_max_sleep_between_retries_ms = 2000
result_expires = None
# our sweeper publishes the body of a ready chord that was not published
octollm_fire_ready = False

worker_max_tasks_per_child = 500
worker_proc_alive_timeout = 60
worker_cancel_long_running_tasks_on_connection_loss = False
worker_hijack_root_logger = False
worker_redirect_stdouts = False
# with remote control, anyone who can publish to Redis could stop workers with one message
worker_enable_remote_control = False
worker_send_task_events = False
task_send_sent_event = False

timezone = "UTC"
enable_utc = True
