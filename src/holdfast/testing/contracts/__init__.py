"""What every implementation of a port must do, as test suites to subclass.

For good messages let pytest rewrite their assertions: put
``pytest.register_assert_rewrite("holdfast.testing.contracts")`` into ``conftest.py``.
"""
