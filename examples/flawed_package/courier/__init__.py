"""What a parcel costs."""

from courier.price import price, refund

__all__ = ["price", "refund"]
