"""FastAPI in front, a Celery task behind it: on threads, with requests, acknowledged late, published with confirms."""

import threading
from typing import Any

import requests
from celery import Celery
from fastapi import FastAPI, HTTPException, Request
from given import AMQP, API, CALLS, ENRICHED, HEADERS, QUORUM, SECRET, TIMEOUT_S, TRIES
from kombu import Queue

celery = Celery("bench", broker=AMQP)
celery.conf.update(
    task_queues=[Queue(CALLS, queue_arguments=QUORUM)],
    task_default_queue=CALLS,
    task_default_exchange="",
    task_default_routing_key=CALLS,
    task_acks_late=True,
    task_ignore_result=True,
    task_default_delivery_mode=2,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_transport_options={"confirm_publish": True},
)
downstream = Queue(ENRICHED, queue_arguments=QUORUM)
local = threading.local()


def session() -> requests.Session:
    """A thread's own, so that its connection is kept."""
    if not hasattr(local, "http"):
        local.http = requests.Session()
    return local.http


@celery.task(autoretry_for=(requests.RequestException,), retry_backoff=True, max_retries=TRIES)
def enrich(notification: dict[str, Any]) -> None:
    answer = session().get(f"{API}/call/{notification['message']['call']['id']}", headers=HEADERS, timeout=TIMEOUT_S)
    answer.raise_for_status()
    joined = {"notification": notification, "call": answer.json()}
    with celery.producer_pool.acquire(block=True) as producer:
        producer.publish(joined, routing_key=ENRICHED, declare=[downstream], delivery_mode=2, retry=True)


app = FastAPI()


@app.post("/webhook")
def webhook(payload: dict[str, Any], request: Request) -> dict[str, Any]:
    if request.headers.get("x-vapi-secret") != SECRET:
        raise HTTPException(401)
    enrich.delay(payload)
    return {}
