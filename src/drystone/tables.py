"""Imports every room's models, so that the metadata is whole for migrations and for resolving foreign keys."""

from drystone.access import models as access
from drystone.catalogue import models as catalogue
from drystone.core.orm import Base
from drystone.documents import models as documents
from drystone.index import models as index
from drystone.jobs import models as jobs
from drystone.mentions import models as mentions
from drystone.observations import models as observations
from drystone.webhooks import models as webhooks

metadata = Base.metadata

__all__ = ["access", "catalogue", "documents", "index", "jobs", "mentions", "metadata", "observations", "webhooks"]
