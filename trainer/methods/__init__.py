"""The remedies for collapsed groups, each in one short place; `registry` names them all."""
