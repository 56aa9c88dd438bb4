package PgEncrypt::Session;

=head1 NAME

PgEncrypt::Session - sessions that stay open while a test does something else

=head1 SYNOPSIS

  use PgEncrypt::Session;

  my $session = session($node);
  my $pid     = backend_pid($session);
  session_start($session, 'select ... for a long time');

=cut

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PgEncrypt::Test;

our @EXPORT = qw(session session_error session_start backend_pid);

=head1 FUNCTIONS

=head2 session(NODE, [dbname => NAME,] [extra_params => [...]])

A psql that stays connected and goes on after errors: a PostgreSQL::Test::BackgroundPsql.

=cut

sub session
{
	my ($node, %options) = @_;
	return $node->background_psql($options{dbname} // 'postgres', on_error_stop => 0,
		extra_params => [ '-v', 'VERBOSITY=verbose', @{ $options{extra_params} // [] } ]);
}

=head2 session_error(SESSION, SQL)

As sql_error, in that session. Notices of statements before are forgotten.

=cut

sub session_error
{
	my ($session, $sql) = @_;
	$session->{stderr} = '';
	$session->query($sql);
	my $said = $session->{stderr};
	$session->{stderr} = '';
	return (sqlstate($said), $said);
}

=head2 session_start(SESSION, SQL)

Sends SQL without waiting for its end, which shows in the next query of that session.

=cut

sub session_start
{
	my ($session, $sql) = @_;
	$session->query_until(qr/started\n/, "\\echo started\n$sql;\n");
	return;
}

=head2 backend_pid(SESSION)

=cut

sub backend_pid
{
	my ($session) = @_;
	return $session->query_safe('select pg_backend_pid()');
}

1;
