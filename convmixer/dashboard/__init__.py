"""labml's own web app over the run folders: they are the truth, it reads them and keeps following them.

run folders -> follower -> records, drivers -> labml-app's views (app) -> guard -> browser
"""
