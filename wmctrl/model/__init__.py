"""World model: encoders, recurrent state-space dynamics and mixture-density heads."""
