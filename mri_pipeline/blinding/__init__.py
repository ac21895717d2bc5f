"""The trial's secret, blinded codes and the sealed key."""
