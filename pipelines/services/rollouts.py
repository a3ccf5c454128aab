"""What a model answered at a step, read from its host when somebody asks."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext as _

from environments.transports import Transport, TransportError, Unreachable, for_host
from monitoring.models import RolloutFile
from monitoring.readers import rollouts as reader
from monitoring.services import rollouts as index
from pipelines.folders import rollouts_folder
from pipelines.models import Job
from platform_runtime import rollouts as form
from platform_runtime.message import ContractError
from platform_runtime.rollouts import Sample
from platform_site.common.errors import Conflict, NotFound, Unavailable


@dataclass(frozen=True)
class OpenStep:
    """A step whose file was surveyed just now."""

    file: RolloutFile
    survey: reader.Survey
    path: str
    transport: Transport

    def samples(self, places: Iterable[reader.Place]) -> list[Sample]:
        """The samples at these places, each read by itself: a page needs few of a large file. Raises Conflict when the
        file was changed meanwhile, and Unavailable."""
        try:
            return [
                reader.sample(self.transport.read(self.path, place.offset, place.length), self.file.step)
                for place in places
            ]
        except (ContractError, FileNotFoundError) as error:
            raise Conflict(_("The file was changed while it was read. Try again.")) from error
        except TransportError as error:
            raise Unavailable(_("The file cannot be read: %(error)s") % {"error": error}) from error


def open_step(job: Job, file: RolloutFile) -> OpenStep:
    """Read the file of a step. What it says now is kept as its figures, so that the index follows the file.

    Raises NotFound when the file is gone, Unavailable when it or its host cannot be read. `job` comes with its attempts
    and their hosts.
    """
    attempt = next((one for one in job.stage.attempts.all() if one.number == file.segment.attempt), None)
    if attempt is None or attempt.host is None:
        raise NotFound(_("The attempt that logged this step is gone."), code="gone")
    path, transport = form.path(rollouts_folder(attempt), file.step), for_host(attempt.host)
    where = {"step": file.step, "host": attempt.host.name}
    try:
        survey = index.survey(path, file.step, transport)
    except FileNotFoundError as error:
        index.keep_problem(file, error, path)
        raise NotFound(_("The file of step %(step)s is gone from host %(host)s.") % where, code="gone") from error
    except TransportError as error:
        if not isinstance(error, Unreachable):
            index.keep_problem(file, error, path)
        why = index.problem_of(error, path)
        told = _("The file of step %(step)s on host %(host)s cannot be read: %(error)s") % {**where, "error": why}
        raise Unavailable(told) from error
    index.keep_survey(file, survey, path, transport)
    return OpenStep(file, survey, path, transport)
