"""The workers' wing; `celery -A workers worker -Q QUEUE` finds the app here."""

from workers.tasks import app

__all__ = ["app"]
