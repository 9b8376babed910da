"""The embedded servers: data survive every kind of end, and damage is named."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from service.embedded.children import StartError, private
from service.embedded.postgres import EmbeddedPostgres
