"""Rounding of money: once, to the currency's minor unit, with halves away from zero."""

BASIS_POINTS = 10_000


_DIGITS_AFTER_POINT = {
    **dict.fromkeys(
        (
            *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"),
            *("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
        ),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
"""ISO 4217 currencies whose minor unit is not a hundredth."""


def minor_unit_micros(currency: str) -> int:
    """Return the currency's minor unit (ISO 4217) in micros: 10000 for a hundredth."""
    return int(10 ** (6 - _DIGITS_AFTER_POINT.get(currency, 2)))


def rounded(amount: int, unit: int) -> int:
    """Return the multiple of `unit` nearest to `amount`; halves go away from zero, so both signs round alike."""
    nearest = (2 * abs(amount) + unit) // (2 * unit) * unit
    return nearest if amount >= 0 else -nearest


def tax_of(amount_micros: int, basis_points: int, minor_unit: int) -> int:
    """Return the tax on a rounded amount, rounded once to the minor unit; all in micros."""
    return rounded(amount_micros * basis_points, minor_unit * BASIS_POINTS) // BASIS_POINTS
