"""The pages of the dashboard: server-rendered, over the same functions as the API's routes.

A page calls the function of the route that gives its records, so nothing is possible here that is
not possible over HTTP. What a page does is a request of its scripts to the API itself, with the
cookie of the sign-in.
"""
