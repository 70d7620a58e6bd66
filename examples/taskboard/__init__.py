"""A small task board that depends on another service for the names of its users.

`app` serves users and tasks, `store` keeps the tasks, `users` asks the user service in three ways,
`caching` keeps what it said in Redis in three ways, and `user_service` is that other service.
"""
