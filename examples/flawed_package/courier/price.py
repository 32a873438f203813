"""Prices of parcels by their weight, in whole cents."""

LIGHT_GRAMS = 2_000
LIGHT_CENTS = 499
HEAVY_CENTS = 899


def price(grams: int) -> int:
    """Return what a parcel of up to 30 kg costs; up to LIGHT_GRAMS it is light."""
    if not 0 < grams <= 30_000:
        raise ValueError("a parcel weighs more than nothing and at most 30 kg")
    return LIGHT_CENTS if grams < LIGHT_GRAMS else HEAVY_CENTS


def refund(cents: int, *, days_late: int) -> int:
    """Return what is paid back: all of it after three days, half of it before, nothing when it was in time."""
    if days_late <= 0:
        return 0
    return cents if days_late > 3 else cents // 2
